"""Outlives a test: when the test ends, however it ends, kills the servers it started and removes their folder.

Run as `s3_keeper.py FOLDER STRAY…`, as the leader of the process group that the servers join; strays are files that a
server leaves outside the folder. The test holds the other end of its input, which a killed test lets go of like any other;
so there is nothing that a test could forget.
"""

import contextlib
import os
import shutil
import signal
import sys
import time


def main(folder, *strays):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    group = os.getpgrp()
    # Nobody survives the kill of its own group, so a child leaves it and does that.
    if os.fork() == 0:
        os.setpgid(0, 0)
        os.killpg(group, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (living(group) or os.path.exists(folder)):
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.005)
        for stray in strays:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(stray)
        # Whoever waits for the output's end knows now that all is gone.
        os._exit(0)
    signal.pause()


def living(group):
    """Whether anybody of a group runs; one that is dead and was not asked for does not."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, _, of = file.read().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(of) == group and state not in "ZX":
            return True
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
