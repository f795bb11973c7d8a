"""Records `landfall backup` in a terminal and draws it as docs/picture.svg.

    pip install pyte; cargo build --release -p landfall-cli; python3 docs/picture.py target/release/landfall FOLDER

Runs the real binary in a pseudo-terminal over FOLDER with a home of its own, keeps the frame in which most bars move, and
puts the end of the run below it.
"""
import fcntl, html, os, pathlib, pty, select, struct, subprocess, sys, tempfile, termios
import pyte

COLUMNS, LINES = 92, 30
binary, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
world = tempfile.mkdtemp()
shown = os.path.join(world, "Pictures")
os.symlink(folder, shown)


def record(arguments):
    """Runs the binary in a terminal and returns every screen it showed."""
    screen, frames = pyte.Screen(COLUMNS, LINES), []
    stream = pyte.ByteStream(screen)
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "LANDFALL_HOME": f"{world}/home", "LANDFALL_PASSWORD": "a password", "TERM": "xterm-256color"}
    process = subprocess.Popen([binary, *arguments], stdin=child, stdout=child, stderr=child, env=environment, cwd=world)
    os.close(child)
    while True:
        ready, _, _ = select.select([parent], [], [], 0.05)
        try:
            data = os.read(parent, 65536) if ready else b""
        except OSError:
            break
        if data:
            stream.feed(data)
            frames.append([line.rstrip() for line in screen.display])
        elif process.poll() is not None:
            break
    return frames


frames = record(["backup", f"{folder}"])
moving = max(frames, key=lambda frame: (sum("/s" in line or "█" in line or "━" in line for line in frame), len("".join(frame))))
bars = [line for line in moving if any(mark in line for mark in ("█", "━", "/s", "["))]
end = [line for line in frames[-1] if line and line not in bars][-2:]
lines = ["$ landfall backup ~/Pictures", *bars, *end, "$ landfall restore ./restored"]
lines += [line for line in record(["restore", f"{world}/restored"])[-1] if line][-1:]
height = 22 * len(lines) + 50
rows = "\n".join(
    f'<text x="20" y="{52 + 22 * n}" fill="{"#7ee787" if line.startswith("$") else "#e6edf3"}">{html.escape(line)}</text>'
    for n, line in enumerate(lines)
)
svg = f'''<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{height}" role="img" aria-label="landfall backup in a terminal">
<rect width="860" height="{height}" rx="10" fill="#0d1117"/>
<circle cx="22" cy="20" r="6" fill="#ff5f56"/><circle cx="42" cy="20" r="6" fill="#ffbd2e"/><circle cx="62" cy="20" r="6" fill="#27c93f"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">
{rows}
</g>
</svg>
'''
pathlib.Path(__file__).with_name("picture.svg").write_text(svg)
print("\n".join(lines))
