#!/usr/bin/env python3
"""What it costs to put files into a bucket: Landfall beside s5cmd and rclone, on one machine and one server.

    cargo build --release && LANDFALL_BIN=target/release/landfall python3 benches/s3/run.py [--server NAME]

One file of 1 GiB, then 300 of 20 kB, five times each. The contenders take turns, and each round another is first. Each run has
a server of its own, just started, and an empty bucket, so that nobody pays for what another has left; what comes out is
compared with what went in by number and length. The source is in the page cache. Seconds of CPU and peak memory are the
client's alone, of its process and those it waited for; but on a small machine the server takes from the same CPUs, so seconds
by the clock say as much about the server. Without LANDFALL_BIN the others run alone.

rclone runs twice: as it comes, which is 4 files at once, and with 32, and parts of the length and number that s5cmd takes.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(REPOSITORY, "tests", "real"))
import s3_packages  # noqa: E402
import s3_servers  # noqa: E402

MIB = 1 << 20
LANDFALL = os.environ.get("LANDFALL_BIN")


def main():
    arguments = argparse.ArgumentParser(description="What it costs to put files into a bucket.")
    arguments.add_argument("--server", choices=s3_servers.NAMES, action="append", help="may be given more than once (seaweedfs)")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--only", nargs="+", choices=LOADS, default=list(LOADS), help="the loads to take (all)")
    asked = arguments.parse_args()
    contenders = [landfall] * bool(LANDFALL) + [s5cmd, rclone, rclone_32]
    if not LANDFALL:
        print("LANDFALL_BIN is not set: the others run alone")
    below = tempfile.mkdtemp(prefix="landfall-bench-s3-", dir=os.environ.get("LANDFALL_TEST_DIR"))
    try:
        print(f"on {cpu()}, {os.cpu_count()} CPUs, with a load of {os.getloadavg()[0]:.1f} by others")
        for name in asked.only:
            source = os.path.join(below, name)
            sizes = LOADS[name](source)
            for server in asked.server or ["seaweedfs"]:
                costs = race(contenders, server, source, sizes, asked.rounds)
                show(f"{server}, {len(sizes)} x {sizes[0]} bytes; medians of {asked.rounds}", costs, sum(sizes))
    finally:
        shutil.rmtree(below)


def race(contenders, server_name, source, sizes, rounds):
    costs = {contender: [] for contender in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            with s3_servers.start(server_name) as server:
                bucket = server.new_bucket("bench")
                scratch = server.path("scratch")
                os.mkdir(scratch)
                costs[contender].append(cost(*contender(server, bucket, source, scratch), scratch))
                pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
                found = sorted(entry["Size"] for page in pages for entry in page.get("Contents", ()))
            if found != sorted(sizes):
                raise SystemExit(f"{contender.__name__} has put {len(found)} objects of {sum(found)} bytes: wanted "
                                 f"{len(sizes)} of {sum(sizes)}")
            print(f"  {contender.__name__}: {costs[contender][-1]['seconds']:.2f} s", file=sys.stderr)
    return costs


def show(title, costs, size):
    print(f"\n{title}")
    print(f"{'':>9} {'seconds':>8} {'least':>7} {'most':>7} {'MiB/s':>7} {'CPU-s':>7} {'user':>7} {'system':>7} {'peak MiB':>9}"
          f"   times {next(iter(costs)).__name__}: seconds, CPU, memory")
    base = None
    for contender, runs in costs.items():
        seconds, user, system, memory = (statistics.median(run[what] for run in runs) for what in runs[0])
        times = sorted(run["seconds"] for run in runs)
        base = base or (seconds, user + system, memory)
        ratios = [mine / its for mine, its in zip((seconds, user + system, memory), base)]
        print(f"{contender.__name__:>9} {seconds:8.2f} {times[0]:7.2f} {times[-1]:7.2f} {size / MIB / seconds:7.1f} {user + system:7.2f}"
              f" {user:7.2f} {system:7.2f} {memory / MIB:9.1f}   " + " ".join(f"{ratio:6.2f}" for ratio in ratios), flush=True)


# --- contenders: a command line and its environment; what they prepare costs nothing --------------------------------------

def landfall(server, bucket, source, scratch):
    secret = os.path.join(scratch, "secret")
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(server.secret_key)
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": scratch, "TMPDIR": scratch, "LANDFALL_DEVICE": "bench",
           "LANDFALL_HOME": os.path.join(scratch, "home")}
    subprocess.run([LANDFALL, "destination", "add", "s3", "bench", "--bucket", bucket, "--region", server.region, "--endpoint",
                    server.endpoint, "--access-key", server.access_key, "--secret-file", secret, "--path-style"], env=env,
                   check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return [LANDFALL, "put", *files(source), "--to", "bench"], env


def s5cmd(server, bucket, source, _):
    return [s3_packages.command("s5cmd"), "cp", os.path.join(source, "*"), f"s3://{bucket}/"], {**os.environ, **server.env()}


def rclone(server, bucket, source, _, *more):
    options = f"env_auth,endpoint='{server.endpoint}',region={server.region},force_path_style,no_check_bucket"
    remote = f":s3,provider=Other,{options}:{bucket}"
    return [s3_packages.command("rclone"), "--config", os.devnull, *more, "copy", source, remote], {**os.environ, **server.env()}


def rclone_32(*arguments):
    return rclone(*arguments, "--transfers", "32", "--s3-upload-concurrency", "5", "--s3-chunk-size", "50Mi")


def files(source):
    return [os.path.join(source, name) for name in sorted(os.listdir(source))]


# --- what is measured ------------------------------------------------------------------------------------------------------

#: Starts a command from a process of its own, since a process counts the memory of whoever it was forked from as its own.
#: That of this one, some 10 MiB, is the least that can be seen.
METER = """
import json, os, sys, time
said = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
start = time.monotonic()
child = os.fork()
if child == 0:
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.execv(sys.argv[2], sys.argv[2:])
_, status, used = os.wait4(child, 0)
took = time.monotonic() - start
print(json.dumps({"seconds": took, "user": used.ru_utime, "system": used.ru_stime, "memory": used.ru_maxrss * 1024}))
sys.exit(status != 0)
"""


def cost(command, env, scratch):
    said = os.path.join(scratch, "said")
    program = shutil.which(command[0]) or command[0]
    ended = subprocess.run([sys.executable, "-IS", "-c", METER, said, os.path.abspath(program), *command[1:]], env=env,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if ended.returncode != 0:
        with open(said, errors="replace") as file:
            raise SystemExit(f"`{' '.join(command[:4])} …` failed: {file.read()[-2000:]}")
    return json.loads(ended.stdout)


def one_large(source):
    """1 GiB that no compression makes smaller."""
    os.makedirs(source)
    with open(os.path.join(source, "VID_0001.mp4"), "wb") as file:
        for _ in range(1024):
            file.write(os.urandom(MIB))
    return [1 << 30]


def many_small(source):
    os.makedirs(source)
    noise = random.Random(1).randbytes
    for number in range(300):
        with open(os.path.join(source, f"IMG_{number:04}.jpg"), "wb") as file:
            file.write(noise(20_000))
    return [20_000] * 300


LOADS = {"large": one_large, "small": many_small}


def cpu():
    with open("/proc/cpuinfo") as cpus:
        return next((line.split(":", 1)[1].strip() for line in cpus if line.startswith("model name")), "an unknown CPU")


if __name__ == "__main__":
    main()
