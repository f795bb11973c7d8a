"""Backs up a folder with `landfall`, gives it back with `read_vault.py`, and compares. Prints `N passed, N failed`."""

import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

READER = pathlib.Path(__file__).with_name("read_vault.py")
CHUNK = 4 << 20
PICTURE = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def main():
    landfall = pathlib.Path(sys.argv[1]).resolve()
    checks = Checks()
    with tempfile.TemporaryDirectory() as name:
        world = World(pathlib.Path(name), landfall)
        first = make_pictures(world.folder / "Pictures")
        world.back_up()
        checks.that("everything comes back", world.read("first") == first)

        changed = world.folder / "Pictures/one.jpg"
        write(changed, PICTURE + b"changed", 1_700_000_000_000_000_001)
        world.back_up()
        newest = first | {b"Pictures/one.jpg": described(changed)}
        checks.that("the newest of a place comes back", world.read("second") == newest)

        checks.that("another password is refused", world.read("third", password="another") is None)
        world.spoil()
        checks.that("a flipped bit is refused", world.read("fourth") is None)
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


class Checks:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def that(self, what, holds):
        self.passed += holds
        self.failed += not holds
        if not holds:
            print(f"not so: {what}")


class World:
    """A home, its vault and the folder `Pictures`."""

    def __init__(self, folder, landfall):
        self.folder, self.landfall = folder, landfall

    def back_up(self):
        command = [self.landfall, "--home", "home", "backup", "Pictures"]
        subprocess.run(command, cwd=self.folder, env=env("password"), check=True, capture_output=True, timeout=300)

    def read(self, out, password="password"):
        """What the reader restores; nothing if it refuses."""
        command = [sys.executable, READER, "home-vault", out]
        done = subprocess.run(command, cwd=self.folder, env=env(password), capture_output=True, timeout=300)
        found = described_below(self.folder / out) if done.returncode == 0 else None
        shutil.rmtree(self.folder / out)
        return found

    def spoil(self):
        files = [path for path in (self.folder / "home-vault/blobs").rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        sealed = bytearray(largest.read_bytes())
        sealed[len(sealed) // 2] ^= 1
        largest.write_bytes(sealed)


def make_pictures(folder):
    drawn = random.Random(1)
    sizes = {"one": 1000, "full": CHUNK, "over": CHUNK + 1, "parts": 5 * CHUNK + 7, "deep/er/line\nbreak 😀": 300}
    for number, (name, size) in enumerate(sizes.items()):
        content = PICTURE + drawn.randbytes(size - len(PICTURE))
        write(folder / f"{name}.jpg", content, 1_600_000_000_123_456_789 + number)
    shutil.copy(folder / "one.jpg", folder / "deep/twin.jpg")
    write(folder / "one.xmp", b"<x/>", -1_500_000_001)
    raw = os.path.join(os.fsencode(folder), b"no text \xff\xfe.jpg")
    os.rename(folder / "over.jpg", raw)
    return described_below(folder.parent, b"Pictures")


def write(path, content, modified_ns):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(modified_ns, modified_ns))
    # A file that was modified a moment ago may still be written, and waits; these have times of long ago.


def described(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest(), os.stat(path).st_mtime_ns


def described_below(folder, only=b""):
    root, found = os.fsencode(folder), {}
    for parent, _, names in os.walk(os.path.join(root, only)):
        for name in names:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, root)] = described(path)
    return found


def env(password):
    return {"PATH": os.environ["PATH"], "LANDFALL_PASSWORD": password}


main()
