"""Power loss: the disk of the home and the vault stops in the middle of work and forgets what was not synced.

`xfs_io -x -c shutdown` stops a mounted ext4 without flushing its log: after a remount only what was synced is there.
Everything that `--json-lines` said was done is written down outside of that disk, and must be there each time.
"""

import atexit
import os
import random
import subprocess
import time

from landfall import (LONG_AGO_NS, MIB, World, check, check_restored, check_sound, digest, distinct, equal, figure, jpeg,
                      photos, put, results, scenario, until)

ROUNDS = int(os.environ.get("LANDFALL_ROUNDS") or 20)
SEED = int(os.environ.get("LANDFALL_SEED") or random.SystemRandom().randrange(1 << 32))
chance = random.Random(SEED)
figure(f"seed {SEED}")


def command(*arguments):
    subprocess.run(arguments, check=True, capture_output=True)


class Disk:
    """An ext4 in a file."""

    def __init__(self, world):
        self.image, self.folder = world.path("disk.img"), world.path("disk")
        os.mkdir(self.folder)
        with open(self.image, "wb") as file:
            file.truncate(1024 * MIB)
        command("mkfs.ext4", "-q", "-F", self.image)
        self.mount()
        atexit.register(lambda: subprocess.run(["umount", "-l", self.folder], capture_output=True))

    def mount(self):
        command("mount", "-o", "loop", self.image, self.folder)

    def cut(self):
        command("xfs_io", "-x", "-c", "shutdown", self.folder)

    def back(self):
        def unmounted():
            return subprocess.run(["umount", self.folder], capture_output=True).returncode == 0

        until(unmounted, "the disk is let go of", 30, 0.05)
        self.mount()


def is_canary(disk):
    """A file that was not synced must be gone, or nothing here shows anything."""
    path = os.path.join(disk.folder, "canary")
    with open(path, "wb") as file:
        file.write(b"unsynced" * 1000)
    disk.cut()
    disk.back()
    return not os.path.exists(path) or os.path.getsize(path) == 0


def power():
    """Power cuts while a backup runs"""
    world = World("power")
    disk = Disk(world)
    check(is_canary(disk), "what is not synced is lost by a cut")
    world.home, world.vault = os.path.join(disk.folder, "home"), os.path.join(disk.folder, "vault")
    world.env["LANDFALL_HOME"] = world.home
    world.unlock("--to", world.vault)
    acknowledged, order, moments, ends = {}, 0, 0, {}
    for number in range(ROUNDS):
        # New work each time, so that each cut has some to hit.
        photos(world.source, 25, chance.choice([900, 4000, 70_000]), seed=number, name=f"{number:02} {{:03}}.jpg")
        big = chance.choice([0, 5, 20])
        if big:
            put(os.path.join(world.source, f"{number:02} big.jpg"), jpeg(f"big {number}", big * MIB), LONG_AGO_NS)
        running = world.start("backup", world.source, "--to", world.vault, "--json-lines")
        enough = chance.randint(1, 20)
        running.event(lambda event: running.count("done") >= enough)
        # A moment between two events, not always at one.
        time.sleep(chance.choice([0, 0, chance.uniform(0, 0.03)]))
        done_before = running.count("done")
        disk.cut()
        moments += done_before >= 1
        try:
            code = running.wait(20)
            ends[code] = ends.get(code, 0) + 1
        except subprocess.TimeoutExpired:
            running.kill()
            ends["killed"] = ends.get("killed", 0) + 1
        # Whatever was ever said to be done counts, also what was read after the cut.
        for event in running.all("done"):
            acknowledged[event["place"]] = digest(os.path.join(os.path.dirname(world.source), event["place"]))
        disk.back()
        order += 1
        out = world.path(f"out {number}")
        world.run("restore", out, "--from", world.vault, "--json").expect(0)
        lost = [place for place, wanted in acknowledged.items()
                if not os.path.exists(os.path.join(out, place)) or digest(os.path.join(out, place)) != wanted]
        if not check(not lost, f"cut {number + 1}: all {len(acknowledged)} acknowledged are there", lost[:5]):
            break
        subprocess.run(["rm", "-rf", out])
    equal(moments, ROUNDS, "each cut came after something was acknowledged")
    figure(f"{order} cuts, {len(acknowledged)} acknowledged before one; the cut processes ended with {ends}")
    world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
    world.run("restore", world.path("out"), "--from", world.vault, "--json").expect(0)
    check_restored(world.path("out"), world.source, "after the last cut")
    verified = world.run("verify", "--read-data", "--from", world.vault, "--json").expect(0).json
    equal(verified["problems"], [], "after the last cut: every object verifies")
    check_sound(world, distinct(world.source), "after the last cut")
    subprocess.run(["umount", disk.folder], check=True)


if __name__ == "__main__":
    scenario(power)
    results.close()
