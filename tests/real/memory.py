"""Memory: four large videos under way at once, by a client that may have 64 MiB.

LANDFALL_FULL=1 takes four times 2 GiB; otherwise four times 512 MiB.
"""

import atexit
import os
import subprocess
import threading

from landfall import MIB, PASSWORD, World, check, distinct, equal, figure, results, rows, scenario, video

FULL = os.environ.get("LANDFALL_FULL") == "1"
SIZE = (2048 if FULL else 512) * MIB
LIMIT = 64 * MIB


class Group:
    """A memory cgroup, of either version."""

    def __init__(self):
        v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
        self.is_v1 = os.path.isdir(v1)
        self.path = os.path.join(v1 if self.is_v1 else v2, f"landfall-{os.getpid()}")
        if not self.is_v1:
            subprocess.run(["sh", "-c", f"echo +memory > {v2}/cgroup.subtree_control"], capture_output=True)
        os.mkdir(self.path)
        atexit.register(lambda: subprocess.run(["rmdir", self.path], capture_output=True))
        self.write("memory.limit_in_bytes" if self.is_v1 else "memory.max", LIMIT)
        if not self.is_v1 and os.path.exists(os.path.join(self.path, "memory.swap.max")):
            self.write("memory.swap.max", 0)

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(str(value))

    def read(self, name):
        with open(os.path.join(self.path, name)) as file:
            return file.read()

    def enter(self):
        """A command line that runs another inside."""
        return ("sh", "-c", f'echo $$ > "{self.path}/cgroup.procs" && exec "$@"', "sh")

    def killed(self):
        text = self.read("memory.oom_control" if self.is_v1 else "memory.events")
        return dict(line.split() for line in text.splitlines()).get("oom_kill", "0")

    def peak(self):
        name = "memory.max_usage_in_bytes" if self.is_v1 else "memory.peak"
        return int(self.read(name)) if os.path.exists(os.path.join(self.path, name)) else 0


def status_of(pid, name):
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) << 10 for line in file if line.startswith(name)), 0)
    except OSError:
        return 0


def sizes(*folders):
    found = {}
    for folder in folders:
        for base, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(base, name)
                try:
                    found[path] = os.stat(path).st_blocks * 512
                except OSError:
                    pass
    return found


def memory():
    """Four large videos at once in 64 MiB"""
    world = World("memory")
    for number in range(4):
        video(os.path.join(world.source, f"VID_{number}.mp4"), SIZE, number)
    server = world.serve()
    world.run("login", server.url, "--token-file", server.token_file, env={"LANDFALL_PASSWORD": PASSWORD}).expect(0)
    world.unlock("--to", server.url)
    group = Group()
    before = sizes(world.home, world.source, world.path("tmp"))
    running = world.start("backup", world.source, "--to", server.url, "--transfers", 4, "--videos", 4, "--json-lines", wrap=group.enter())
    most_open, high, grown, journal = 0, 0, {}, 0
    over = threading.Event()

    def watch():
        nonlocal most_open, high, journal
        while not over.wait(0.05):
            # The high-water mark only rises; read while there is somebody to ask.
            high = max(high, status_of(running.pid, "VmHWM"))
            open_now = rows(os.path.join(world.vault, "server.db"), "SELECT count(*) FROM upload WHERE state = 'open' AND size > ?", SIZE)
            most_open = max(most_open, open_now[0][0])
            for path, size in sizes(world.home, world.source, world.path("tmp")).items():
                if os.path.basename(path).startswith("journal.db"):
                    journal = max(journal, size)
                else:
                    grown[path] = max(grown.get(path, 0), size - before.get(path, 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        code = running.wait(1800)
    finally:
        over.set()
        watcher.join()
    took = running.events[-1][0] - running.started if running.events else 0
    equal(code, 0, "memory: the backup completes under the limit")
    equal(group.killed(), "0", "memory: nobody was killed for want of memory")
    check(0 < high <= LIMIT, "memory: VmHWM is at most 64 MiB", f"{high / MIB:.1f} MiB")
    equal(most_open, 4, "memory: the server sees four uploads open at once")
    most = max(grown.values(), default=0)
    check(most <= MIB, "memory: outside the vault no file grows but the journal", sorted(grown.items(), key=lambda one: -one[1])[:3])
    check(journal <= 16 * MIB, "memory: the journal stays small", journal)
    wanted = distinct(world.source)
    equal(rows(os.path.join(world.vault, "server.db"), "SELECT count(*) FROM file WHERE is_deleted = 0")[0][0], wanted, "memory: all are there")
    figure(f"memory: 4 x {SIZE / MIB:.0f} MiB took {took:.1f} s, VmHWM {high / MIB:.1f} MiB, cgroup peak {group.peak() / MIB:.1f} MiB"
           f" (with page cache), journal and its log at most {journal / MIB:.2f} MiB each")
    verified = world.run("verify", "--read-data", "--from", server.url, "--json", seconds=1800).expect(0).json
    equal(verified["problems"], [], "memory: every object verifies")
    server.stop()


if __name__ == "__main__":
    scenario(memory)
    results.close()
