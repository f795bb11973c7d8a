"""Uploads whose processes are killed at random: what was answered does not go twice, and nothing is left over."""

import os
import random
import time

from bucket_world import PART, BucketWorld, read
from landfall import MIB

SEED = int(os.environ.get("LANDFALL_SEED") or random.SystemRandom().randrange(1 << 32))
#: How many kills are wanted, and how many seconds they may take; and how many there must be however slow the machine is.
KILLS, SECONDS, KILLS_LEAST = 54, 240.0, 50
#: Long enough to be killed in: 7 parts, of which 4 are under way at once.
SIZE, RATE = 32 * MIB, 24 * MIB
#: How long before a kill an answer may have come that was not durable yet. Disks of busy machines take their time.
UNDURABLE_SECONDS = 1.0
#: Parts whose receipts are durable.
NOTED = ("SELECT upload_id, number FROM bucket_part JOIN bucket_object ON object = bucket_object.id"
         " WHERE bucket_part.state = 'stored'")


def resumed(server):
    """An upload goes on where it was killed: nothing that was answered goes twice, and nothing is left over"""
    world = BucketWorld(server, "resumed", rate=RATE, script=linger)
    world.figure(f"seed {SEED}")
    started = time.monotonic()
    world.put(world.file(SIZE, "0"), "--key", "0").expect(0)
    usual = time.monotonic() - started
    world.figure(f"resumed: undisturbed it takes {usual:.2f} s")
    killer, deadline = Killer(world, usual), time.monotonic() + SECONDS
    while killer.kills < KILLS and time.monotonic() < deadline:
        killer.round()
    world.figure(f"resumed: {killer.kills} kills in {killer.rounds} uploads, at {dict(sorted(killer.at.items()))}")
    world.check(killer.kills >= KILLS_LEAST, f"resumed: at least {KILLS_LEAST} kills", killer.kills)
    world.equal(killer.wrong, [], "resumed: after each it ends done, and the object is the file")
    world.equal(killer.left, [], "resumed: no incomplete upload is left, and no stray object")
    world.equal(killer.noted_again, [], "resumed: no part whose receipt is in the journal goes twice")
    world.equal(killer.answered_again, [], "resumed: no part that was answered goes twice")
    world.check(killer.again <= killer.unanswered, "resumed: what goes twice had no answer when the process died",
                f"{killer.again} > {killer.unanswered}")
    world.figure(f"resumed: {killer.again / MIB:.1f} MiB went twice, {killer.unanswered / MIB:.1f} MiB had no answer at a kill;"
                 f" {killer.undurable} answers had come and were not durable")


def linger(request):
    """Has small requests take long enough to be killed in."""
    small = ("CreateMultipartUpload", "CompleteMultipartUpload", "HeadObject")
    return ("delay", 0.02) if request.operation in small else None


class Killer:
    """Kills uploads, and notes what it then finds wrong. `usual` is how long one takes that is let be, in seconds."""

    #: Moments in an upload's life, and how much of each.
    MOMENTS = ("time", "time", "early", "CreateMultipartUpload", "CompleteMultipartUpload", "part", "part", "answer")

    def __init__(self, world, usual):
        self.world, self.usual, self.chance = world, usual, random.Random(f"{SEED} {world.server.name}")
        self.kills = self.rounds = self.again = self.unanswered = self.undurable = 0
        self.at, self.wrong, self.left, self.noted_again, self.answered_again = {}, [], [], [], []

    def round(self):
        """One upload: killed a few times, then let be."""
        self.rounds += 1
        world, key, first = self.world, str(self.rounds), self.world.proxy.count()
        path, done, command = world.file(SIZE, key), world.counts()["done"], "put"
        noted, undurable = set(), set()
        for _ in range(self.chance.randint(3, 7)):
            life = world.proxy.count()
            killed = self._kill(command, path, key)
            world.proxy.quiet()
            parts = [request for request in world.proxy.requests(life) if request.part]
            self.noted_again += [request.part for request in parts if request.part in noted]
            counts = world.counts()
            if killed is None or counts["done"] > done:
                command = "run"
                break
            noted |= set(world.journal(NOTED))
            undurable |= {request.part for request in parts if request.delivered and request.part not in noted
                          and killed - request.ended < UNDURABLE_SECONDS}
            self.unanswered += sum(request.received for request in parts if not request.delivered)
            # What was killed before it took charge can only be put again.
            command = self.chance.choice(("put", "run")) if counts["queued"] else "put"
        # Also what is done: it may have been killed before it had tidied up.
        self._note_end(key, world.run(*self._words(command, path, key)).code)
        self._look(key, path, world.proxy.requests(first, "UploadPart"), undurable)
        os.unlink(path)

    def _look(self, key, path, parts, undurable):
        """What became of an upload, once it is over."""
        world, self.undurable = self.world, self.undurable + len(undurable)
        if world.object(key) != read(path):
            self.wrong.append((key, "the object is not the file"))
        if world.uploads() or len(world.keys()) != self.rounds + 1:
            self.left.append((key, world.uploads(), len(world.keys())))
        answered = [request.part for request in parts if request.delivered and request.status == 200]
        twice = {part for part in answered if answered.count(part) > 1}
        # A bucket that shows no checksums cannot prove that it has the right bytes.
        excused = set() if world.server.traits.lists_checksums else twice & undurable
        self.answered_again += sorted(twice - excused)
        self.again += sum(request.received for request in parts) - SIZE
        # Each of its answers but the last was lost, and one part may lose more than one.
        self.unanswered += sum(answered.count(part) - 1 for part in excused) * PART

    def _kill(self, command, path, key):
        """Starts a command and kills it at some moment; says when, or `None` if it had ended by itself."""
        world, life, name = self.world, self.world.proxy.count(), self.chance.choice(self.MOMENTS)
        pause, test = self._moment(name)
        running = world.start(*self._words(command, path, key))
        while test and not running.ended:
            try:
                world.proxy.wait_for(test, 0.05, life)
                break
            except TimeoutError:
                pass
        deadline = time.monotonic() + pause
        while not running.ended and time.monotonic() < deadline:
            # Nothing is waited for here: it is killed after so long.
            time.sleep(0.002)
        killed = time.monotonic()
        if not running.kill():
            self._note_end(key, running.process.returncode)
            return None
        self.kills += 1
        self.at[name] = self.at.get(name, 0) + 1
        return killed

    def _moment(self, name):
        """What is waited for before a kill, and how long after it."""
        soon = self.chance.choice((0, self.chance.uniform(0, 0.03)))
        number, length = self.chance.randint(1, SIZE // PART), self.chance.randint(0, PART)
        stage = self.chance.choice(("method", "status", "delivered"))
        match name:
            case "time":
                return self.chance.uniform(0, self.usual), None
            case "early":
                return self.chance.uniform(0, self.usual / 4), None
            case "part":
                return soon, lambda request: request.part_number == number and request.received >= length
            case "answer":
                return soon, lambda request: request.part_number == number and request.delivered
            case _:
                return soon, lambda request: request.operation == name and getattr(request, stage)

    def _note_end(self, key, code):
        if code != 0:
            self.wrong.append((key, f"it ended with {code}"))

    @staticmethod
    def _words(command, path, key):
        return ("run",) if command == "run" else ("put", path, "--to", "media", "--key", key)
