#!/usr/bin/env python3
"""What a whole backup costs: CPU-seconds and seconds per GB, beside a copy and a BLAKE2b sum of the same files.

    cargo build --release && python3 benches/backup/run.py [FOLDER]

Makes 3 GiB of photos and videos below FOLDER (or the folder for temporary files), and runs each contender three times in
turns, the order changing each time. A copy reads and writes everything once; the sum reads it once. A backup reads it
twice (a content is hashed before it is sealed), seals it, and writes it once, durably.
"""

import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LANDFALL = os.environ.get("LANDFALL_BIN", os.path.join(REPOSITORY, "target", "release", "landfall"))
MIB = 1 << 20
ROUNDS = 3


def media(folder):
    """400 photos of 3 MiB, 3 videos of 600 MiB; no two files share a block."""
    os.makedirs(folder)
    random.seed(1)
    for number in range(400):
        write(os.path.join(folder, f"IMG_{number:04}.jpg"), b"\xff\xd8\xff\xe0", 3)
    for number in range(3):
        write(os.path.join(folder, f"VID_{number:04}.mp4"), b"\0\0\0\x18ftypisom", 600)


def write(path, head, mib):
    with open(path, "wb") as file:
        file.write(head)
        for _ in range(mib):
            file.write(random.randbytes(MIB))
    os.utime(path, (1_500_000_000, 1_500_000_000))


def backup(source, scratch):
    env = {**os.environ, "LANDFALL_HOME": os.path.join(scratch, "home"), "LANDFALL_PASSWORD": "a password for a bench"}
    subprocess.run([LANDFALL, "backup", source, "--to", os.path.join(scratch, "vault"), "--json"], env=env, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def copy(source, scratch):
    subprocess.run(["cp", "-r", source, os.path.join(scratch, "copy")], check=True)
    subprocess.run(["sync", "-f", scratch], check=True)


def digest(source, _):
    subprocess.run("find . -type f -print0 | xargs -0 b2sum", shell=True, cwd=source, check=True, stdout=subprocess.DEVNULL)


def cost(contender, source, below):
    scratch = tempfile.mkdtemp(dir=below)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    contender(source, scratch)
    took, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(scratch)
    return after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, took


def main():
    below = tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None)
    try:
        source = os.path.join(below, "media")
        media(source)
        total = sum(os.path.getsize(os.path.join(source, name)) for name in os.listdir(source)) / 1e9
        costs = {contender: [] for contender in (backup, copy, digest)}
        for number in range(ROUNDS):
            order = list(costs) if number % 2 == 0 else list(costs)[::-1]
            for contender in order:
                costs[contender].append(cost(contender, source, below))
        with open("/proc/cpuinfo") as cpus:
            name = next((line.split(":", 1)[1].strip() for line in cpus if line.startswith("model name")), "unknown")
        print(f"{total:.2f} GB in {len(os.listdir(source))} files on {name}, {os.cpu_count()} CPUs; medians of {ROUNDS}")
        for contender, all_costs in costs.items():
            user, system, took = (statistics.median(column) / total for column in zip(*all_costs))
            print(f"{contender.__name__:>7}: {user + system:5.2f} CPU-s/GB ({user:.2f} user, {system:.2f} system), {took:5.2f} s/GB")
    finally:
        shutil.rmtree(below)


if __name__ == "__main__":
    main()
