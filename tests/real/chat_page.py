"""Chat: the page as it stands, and what a person may do to it. Messages arrive in order, and once."""

import os
import random
import re
import signal
import subprocess
import time

from landfall import BIN, Proxy, World, check, equal, figure, put, results, scenario
from main_job import exif

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: Photos are made at most this large.
EDGE_MAX = 2048


def picture(width, height, seed):
    """A baseline JPEG in shades of gray, with the place and the time in it: blocks of one shade each."""
    def segment(kind, body):
        return b"\xff" + bytes([kind]) + (len(body) + 2).to_bytes(2, "big") + body

    rng, bits, shade = random.Random(f"picture {seed}"), [], 0
    for _ in range((width // 8) * (height // 8)):
        # Category 0 is `0`, category 3 is `10` and three bits; a block ends with `0`.
        step = rng.choice((-7, -5, 4, 6))
        step = -step if abs(shade + step) > 60 else step
        shade += step
        bits.append("10" + format(step if step > 0 else step + 7, "03b") + "0")
    bits = "".join(bits)
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = b"\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x01\x01\x11\0"
    return (b"\xff\xd8" + exif(6) + segment(0xDB, b"\0" + b"\x10" * 64) + segment(0xC0, frame)
            + segment(0xC4, b"\0" + bytes([1, 1]) + bytes(14) + bytes([0, 3]))
            + segment(0xC4, b"\x10" + bytes([1]) + bytes(15) + bytes([0]))
            + segment(0xDA, b"\x01\x01\0\0\x3f\0") + scan + b"\xff\xd9")


def segments(jpeg):
    """The segments of a JPEG before its scan, and its edges."""
    at, kinds, edges = 2, [], None
    while jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        kind, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2:at + 4], "big")
        if kind in (0xC0, 0xC1, 0xC2):
            edges = (int.from_bytes(jpeg[at + 7:at + 9], "big"), int.from_bytes(jpeg[at + 5:at + 7], "big"))
        kinds.append(kind)
        at += 2 + length
    return kinds, edges


def page():
    """The commands of the page, as they stand there"""
    world = World("chat-page")
    blocks = re.findall(r"^```sh\n(.*?)^```$", open(os.path.join(ROOT, "docs", "chat.md")).read(), re.MULTILINE | re.DOTALL)
    check(len(blocks) >= 6, "page: it has its commands", len(blocks))
    folder, bin = world.path("fresh"), world.path("bin")
    os.mkdir(bin)
    os.symlink(os.path.abspath(BIN), os.path.join(bin, "landfall"))
    original = picture(4800, 3200, "page")
    put(os.path.join(folder, "photo.jpg"), original)
    shell = world.path("page.sh")
    with open(shell, "w") as file:
        file.write("set -euo pipefail\n" + "\n".join(blocks))
    env = {**world.env, "PATH": f"{bin}:{world.env['PATH']}"}
    env.pop("LANDFALL_HOME")
    ended = subprocess.run(["bash", shell], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    out, err = ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace")
    if not check(ended.returncode == 0, "page: every command ends well", f"{ended.returncode}\n{out[-3000:]}\n{err[-3000:]}"):
        return
    check("Look where we are" in out and "Lovely" in out, "page: both texts are read", out)
    check("ended with 5" in out, "page: what cannot be sent ends with 5", out)
    for inbox in ("inbox", "inbox-trip"):
        equal(os.listdir(os.path.join(folder, inbox)), ["photo.jpg"], f"page: {inbox} has the photo and nothing else")
    photo = open(os.path.join(folder, "inbox", "photo.jpg"), "rb").read()
    kinds, edges = segments(photo)
    check(photo[:2] == b"\xff\xd8" and photo[-2:] == b"\xff\xd9", "page: the photo is a whole JPEG")
    check(edges is not None and max(edges) <= EDGE_MAX and edges[0] < edges[1], "page: it is smaller, and upright", edges)
    check(0xE1 not in kinds and b"Exif" not in photo and b"Canary" not in photo, "page: the camera's notes are gone", kinds)
    # Whoever sends it on has to decode it first.
    again = world.run("send", os.path.join(folder, "inbox", "photo.jpg"), "--to", world.path("again"), "--json")
    equal((again.code, again.json.get("published")), (0, 1), "page: the photo can be decoded")
    figure(f"page: {len(original)} bytes of 4800x3200 arrived as {len(photo)} of {edges[0]}x{edges[1]}")
    for post in ("post", os.path.join("share", "post")):
        held = b"".join(open(os.path.join(base, name), "rb").read()
                        for base, _, names in os.walk(os.path.join(folder, post)) for name in names)
        check(len(held) > len(photo), f"page: {post} holds what was sent", len(held))
        known = [b"Look where we are", b"Lovely", b"photo.jpg", b"\xff\xd8\xff", b"JFIF", photo[1000:1032], original[5000:5032]]
        equal([each for each in known if each in held], [], f"page: {post} holds sealed bodies only")
    for home in ("home-anna", "home-ben"):
        mode = os.stat(os.path.join(folder, home, "host.key")).st_mode & 0o777
        equal(mode, 0o600, f"page: only its owner reads the host key of {home}")
        held = open(os.path.join(folder, home, "journal.db"), "rb").read()
        check(b"Look where we are" not in held and b"Lovely" not in held, f"page: the journal of {home} holds no text")
        equal(files(os.path.join(folder, home, "spool")), [], f"page: nothing is left in the spool of {home}")


def files(folder):
    return [os.path.join(base, name) for base, _, names in os.walk(folder) for name in names]


def tail(world, *more, env=None):
    document = world.run("lane", "tail", "family", "--after", "0", "--json", *more, env=env).expect(0).json
    return [message.get("text") or message["attachments"][0]["name"] for message in document["messages"]]


def killed():
    """Killed in the middle of sending; a run then publishes once"""
    world = World("chat-killed")
    server = world.serve()
    proxy = Proxy(server.port, rate=300_000)
    world.env.update({"LANDFALL_TOKEN": server.token, "LANDFALL_TO": proxy.url})
    rng, told, kills = random.Random("chat kills"), [], 0
    # When to kill: as soon as it is in charge, at a stage, or after a while.
    moments = ["taken", "preparing", "uploading", "publishing", "completed", *(rng.uniform(0.02, 2.5) for _ in range(7))]
    for number, moment in enumerate(moments):
        name, text = f"photo {number}.jpg", f"text {number}"
        photo = put(os.path.join(world.source, name), picture(2400, 1600, number))
        sending = world.start("send", photo, "--text", text, "--lane", "family", "--json-lines")
        if isinstance(moment, float):
            time.sleep(moment)
        else:
            sending.event(lambda event: moment in (event["type"], event.get("stage")))
        kills += sending.kill()
        if sending.event("taken", 5):
            told += [name, text]
        else:
            # It may have been taken in charge all the same, or not.
            queued = world.run("status", "--json").expect(0).json["items"] if os.path.exists(world.home) else []
            told += [name, text] if any(item["lane"] for item in queued) else []
        world.run("run").expect(0)
    found = tail(world)
    equal(found, told, "killed: every message is there once, in order")
    figure(f"killed: {kills} of {len(moments)} in the middle, {len(found)} messages")
    proxy.close()
    server.stop()


def together():
    """Several processes send in one lane of one home at once"""
    world = World("chat-together")
    world.env["LANDFALL_TO"] = world.vault
    pictures = [put(os.path.join(world.source, f"{number}.jpg"), picture(400, 304, number)) for number in range(8)]
    # The first thing that this home ever does is done by all of them at once.
    sending = [world.start("send", path, "--text", f"text of {os.path.basename(path)}", "--lane", "family", "--json-lines")
               for path in pictures]
    for running in sending:
        running.expect(0)
    found = tail(world)
    equal(sorted(found), sorted([f"{n}.jpg" for n in range(8)] + [f"text of {n}.jpg" for n in range(8)]), "together: each arrives once")
    check(all(found[at + 1] == f"text of {found[at]}" for at in range(0, 16, 2)), "together: each text follows its photo", found)
    equal(files(world.path("home", "spool")), [], "together: nothing is left in the spool")


def saved():
    """What is saved replaces nothing, and a damaged payload is refused"""
    world = World("chat-saved")
    world.env["LANDFALL_TO"] = world.vault
    note = put(os.path.join(world.source, "note.txt"), b"a note\n" * 1000)
    world.run("send", note, "--lane", "family").expect(0)
    inbox = world.path("inbox")
    put(os.path.join(inbox, "note.txt"), b"mine")
    for _ in range(2):
        tail(world, "--save", inbox)
        equal(sorted(os.listdir(inbox)), ["note (1).txt", "note.txt"], "saved: another of that name stays, and twice is once")
    equal(open(os.path.join(inbox, "note.txt"), "rb").read(), b"mine", "saved: what was there is as it was")
    equal(open(os.path.join(inbox, "note (1).txt"), "rb").read(), b"a note\n" * 1000, "saved: what arrived is what was sent")
    damaged = [path for path in files(world.vault) if os.path.getsize(path) >= 7000 and "server.db" not in path]
    equal(len(damaged), 1, "saved: the payload is one file")
    with open(damaged[0], "r+b") as file:
        file.seek(3000)
        byte = file.read(1)
        file.seek(3000)
        file.write(bytes([byte[0] ^ 1]))
    refused = world.run("lane", "tail", "family", "--save", world.path("refused"), "--json")
    equal(refused.code, 3, "saved: a damaged payload is a problem")
    equal(refused.json["messages"][0]["attachments"][0]["problem"]["code"], "tampered", "saved: and is told")
    equal(os.listdir(world.path("refused")), [], "saved: nothing of it is left")


def stopped():
    """Ctrl-C stops at a sound moment"""
    world = World("chat-stopped")
    server = world.serve()
    proxy = Proxy(server.port, rate=40_000)
    world.env.update({"LANDFALL_TOKEN": server.token, "LANDFALL_TO": proxy.url})
    large = put(os.path.join(world.source, "large.bin"), random.Random("stopped").randbytes(1_000_000))
    sending = world.start("send", large, "--lane", "family", "--json-lines")
    sending.event(lambda event: event.get("stage") == "uploading")
    sending.signal(signal.SIGINT)
    equal(sending.wait(), 130, "stopped: it ends with 130")
    check("`landfall run` goes on" in sending.errors, "stopped: and says how to go on", sending.errors)
    proxy.rate = None
    world.run("run").expect(0)
    equal(tail(world), ["large.bin"], "stopped: a run sends it once")
    away = world.run("send", "--text", "later", "--lane", "family", "--budget", "0s", "--json")
    equal(away.code, 5, "stopped: without a budget it is queued")
    document = world.run("status", "--json").expect(0).json["items"][0]
    equal((document["lane"], document["recipe"], document["blocked_by"]), ("family", "chat", None), "stopped: status names the lane")
    proxy.close()
    server.stop()


if __name__ == "__main__":
    wanted = os.environ.get("LANDFALL_ONLY", "").split()
    for one in (page, killed, together, saved, stopped):
        if not wanted or one.__name__ in wanted:
            scenario(one)
    results.close()
