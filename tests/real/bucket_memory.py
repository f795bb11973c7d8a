"""Memory of uploads to a bucket: it is the same for a long file, for many files, and for one that is sealed.

The bucket throws away what it gets, so that this takes no disk. LANDFALL_GIB says how long the long file is, if not 20 GiB.
"""

import os
import threading
import time

from discarding_bucket import DiscardingBucket
from landfall import CHUNK, CHUNK_EXTRA, MIB, PASSWORD, World, check, equal, figure, put, results, scenario, until

LONG = int(os.environ.get("LANDFALL_GIB") or 20) << 30
SEALED = 2 << 30
#: What comes before the chunks of a sealed file.
SEALED_HEAD = 120
LIMIT, MORE_FOR_MANY = 96 * MIB, 16 * MIB
HOUR = 3600


def long_file():
    """One long file, with the settings that nobody changed"""
    with DiscardingBucket() as bucket:
        upload = Upload("long", bucket, sparse(LONG))
        upload.finish(objects=1, size=LONG)
        check(upload.peak <= LIMIT, "long: the peak is at most 96 MiB", f"{upload.peak / MIB:.1f} MiB")
        upload.figure(f"{LONG / MIB:.0f} MiB at {LONG / 1e6 / upload.took:.0f} MB/s")


def many_files():
    """Ten times as many files take as much memory"""
    peaks = {}
    for count in (1000, 10_000):
        with DiscardingBucket() as bucket:
            upload = Upload("many", bucket, small_files(count), "--transfers", 16)
            upload.finish(objects=count, size=count * SMALL)
            upload.figure(f"{count} files of {SMALL} bytes, {count / upload.took:.0f} files/s")
            peaks[count] = upload.peak
    few, many = peaks.values()
    check(many <= LIMIT, "many: the peak is at most 96 MiB", f"{many / MIB:.1f} MiB")
    check(many - few <= MORE_FOR_MANY, "many: the peak is at most 16 MiB above that of a tenth of them",
          f"{few / MIB:.1f} and {many / MIB:.1f} MiB")


def sealed_file():
    """A long file that is sealed, once there is a key"""
    with DiscardingBucket() as bucket:
        upload = Upload("sealed", bucket, sparse(SEALED), "--seal")
        # A password becomes a key by taking much memory, on purpose. The keys are read back when that is over.
        until(lambda: upload.running.ended or bucket.facts()["asked"].get("GetObject"), "sealed: there are keys")
        before = upload.forget_peak()
        upload.finish(objects=1, size=SEALED_HEAD + SEALED + SEALED // CHUNK * CHUNK_EXTRA)
        check(upload.peak <= LIMIT, "sealed: the peak is at most 96 MiB once there is a key", f"{upload.peak / MIB:.1f} MiB")
        upload.figure(f"{SEALED / MIB:.0f} MiB at {SEALED / 1e6 / upload.took:.0f} MB/s, for the key {before / MIB:.0f} MiB")


class Upload:
    """A `put` to a bucket by a home of its own, whose memory is watched. `fill(folder)` makes what is put."""

    def __init__(self, name, bucket, fill, *more):
        self.name, self.bucket, self.peak, self.anonymous = name, bucket, 0, 0
        world = World(f"bucket-{name}")
        world.env["LANDFALL_KEYRING"] = "off"
        world.run("destination", "add", "s3", "media", "--bucket", bucket.name, "--region", bucket.region, "--endpoint",
                  bucket.endpoint, "--path-style", "--access-key", "access",
                  "--secret-file", put(world.path("secret"), b"secret")).expect(0)
        fill(world.source)
        self.running = world.start("put", world.source, "--to", "media", "--json-lines", *more, env={"LANDFALL_PASSWORD": PASSWORD})
        self.lock, self.over = threading.Lock(), threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _watch(self):
        while not self.over.wait(0.01):
            self._look()

    def _look(self):
        with self.lock:
            # The mark only rises; read while there is somebody to ask.
            self.peak = max(self.peak, self._status("VmHWM"))
            self.anonymous = max(self.anonymous, self._status("RssAnon"))

    def _status(self, name):
        try:
            with open(f"/proc/{self.running.pid}/status") as file:
                return next((int(line.split()[1]) << 10 for line in file if line.startswith(name)), 0)
        except OSError:
            return 0

    def forget_peak(self):
        """Measures from now on, and returns the peak so far."""
        self._look()
        with self.lock:
            before, self.peak, self.anonymous = self.peak, 0, 0
            with open(f"/proc/{self.running.pid}/clear_refs", "w") as file:
                # Sets the mark to what is in use now; see proc_pid_clear_refs(5).
                file.write("5")
        return before

    def finish(self, objects, size):
        """Waits until it has ended, and checks that the bucket was sent everything, once."""
        try:
            code = self.running.wait(1800)
        finally:
            self.over.set()
            self.watcher.join()
        self.took = self.running.events[-1][0] - self.running.started if self.running.events else float("inf")
        if code:
            print(self.running.errors[-2000:])
        facts = self.facts = self.bucket.facts()
        equal(code, 0, f"{self.name}: {objects} uploaded")
        equal((facts["objects"], facts["bytes"], facts["all_known"]), (objects, size, True), f"{self.name}: the bucket has them all")
        equal((facts["sent"], facts["uploads"]), (size, 0), f"{self.name}: each byte was sent once, and nothing is left open")
        # The wrong checksum of a canary is.
        equal(list(facts["refused"]), ["PutObject 400"], f"{self.name}: nothing was refused but canaries with a wrong checksum")
        check(self.peak, f"{self.name}: its memory was seen")

    def figure(self, text):
        figure(f"{self.name}: {text}, {self.took:.1f} s, VmHWM {self.peak / MIB:.1f} MiB, anonymous {self.anonymous / MIB:.1f} MiB,"
               f" at most {self.facts['connections']} connections, {sum(self.facts['asked'].values())} requests,"
               f" {self.facts['refused'].get('PutObject 400', 0)} canaries refused")


def sparse(size):
    """One file that takes no disk."""
    def fill(folder):
        path = put(os.path.join(folder, "long.bin"), b"")
        os.truncate(path, size)
        an_hour_ago(path)
    return fill


def small_files(count):
    def fill(folder):
        for number in range(count):
            an_hour_ago(put(os.path.join(folder, f"{number // 1000:02}", f"{number:05}.bin"), f"{number:08}".encode() * (SMALL // 8)))
    return fill


def an_hour_ago(path):
    # Nobody takes it for one that is still being written.
    moment = time.time() - HOUR
    os.utime(path, (moment, moment))


SMALL = 4096


if __name__ == "__main__":
    wanted = os.environ.get("LANDFALL_ONLY", "").split()
    for one in (long_file, many_files, sealed_file):
        if not wanted or one.__name__ in wanted:
            scenario(one)
    results.close()
