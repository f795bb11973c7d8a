"""Kills: the embedded vault's only process, a client of a separate server, and that server.

LANDFALL_SEED replays the same random choices.
"""

import os
import random
import signal
import subprocess

from landfall import (BIN, MIB, PART, PARTS_IN_FLIGHT, PASSWORD, SIM, TRANSFERS, Proxy, World, check, check_restored,
                      check_sound, distinct, equal, figure, large_photos, photos, results, rows, scenario, until, video)

SEED = int(os.environ.get("LANDFALL_SEED") or random.SystemRandom().randrange(1 << 32))
chance = random.Random(SEED)
figure(f"seed {SEED}")

#: From the start of a process to its next claim, when another died in the middle: nothing is waited out.
TAKEN_OVER_WITHIN = 10.0

PREPARE = ["prepare.read", "prepare.sealed", "prepare.committed"]
UPLOAD = ["upload.open.intent", "upload.open.answered", "upload.open.committed", "upload.send.intent", "upload.send.answered",
          "upload.send.committed"]
COMPLETE = ["complete.intent", "complete.answered", "complete.committed"]
REGISTER = ["register.built", "register.frozen", "register.answered", "register.committed"]
#: Of the vault, which in the embedded topology lives in the same process.
SERVER = ["server.open.committed", "server.part.renamed", "server.part.committed", "server.complete.committed",
          "server.register.committed"]


#: A file of this length has two parts, and so is completed; what fits in one part is stored without.
LARGE = 17 * MIB


class Killer:
    """Starts a command again and again, and sees it die."""

    def __init__(self, world, *command):
        self.world, self.command = world, command
        self.first_claims, self.kills, self.at, self.added = [], 0, {}, 0
        self.died_working = False

    def die(self, how, argument):
        """Has it die once. If there was too little to do, gives it more and tries again."""
        for _ in range(4):
            if self._random(argument) if how == "random" else self._step(how, argument):
                self.kills += 1
                group = how.split(".")[0]
                self.at[group] = self.at.get(group, 0) + 1
                self.died_working = True
                return
            self.died_working = False
            self.added += 1
            large_photos(self.world.source, 4, LARGE, seed=f"more {self.added}", name=f"more {self.added} {{}}.jpg")
            photos(self.world.source, 20, seed=f"more {self.added}", name=f"more {self.added} small {{}}.jpg")
        raise AssertionError(f"{how} never killed it")

    def _started(self, running):
        said = running.event("started", 60)
        if said and self.died_working:
            self.first_claims.append(said[0] - running.started)

    def _random(self, most):
        """At a random moment after the first claim."""
        running = self.world.start(*self.command)
        self._started(running)
        try:
            running.process.wait(chance.uniform(0, most))
        except subprocess.TimeoutExpired:
            pass
        return running.kill()

    def _step(self, step, count):
        running = self.world.start(*self.command, binary=SIM, env={"LANDFALL_CRASH_AT": f"{step}:{count}"})
        self._started(running)
        return running.wait(120) == -signal.SIGABRT

    def check_takeover(self, topology):
        worst = max(self.first_claims)
        figure(f"{topology}: from start to first claim after a kill: worst {worst:.2f} s of {len(self.first_claims)};"
               f" work was added {self.added} times")
        check(worst < TAKEN_OVER_WITHIN, f"{topology}: a dead owner's items are taken over at once", f"{worst:.1f} s")


def embedded():
    """One process with the vault in it, killed 40 times"""
    world = World("kills1")
    photos(world.source, 250, 3000)
    large_photos(world.source, 14, LARGE)
    world.unlock("--to", world.vault)
    killer = Killer(world, "backup", world.source, "--to", world.vault, "--json-lines")
    early, late = COMPLETE + ["server.complete.committed"], PREPARE + UPLOAD + REGISTER + SERVER[:3] + SERVER[4:]
    for number in range(20):
        killer.die("random", 0.1)
        killer.die(early[number] if number < len(early) else late[number % len(late)], chance.randint(1, 2))
    equal(killer.kills, 40, "embedded: 40 kills")
    killer.check_takeover("embedded")
    world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
    finish(world, "embedded", world.vault)


def finish(world, what, place, server=None):
    world.run("restore", world.path("out"), "--from", place, "--json").expect(0)
    check_restored(world.path("out"), world.source, what)
    verified = world.run("verify", "--read-data", "--from", place, "--json").expect(0).json
    equal(verified["problems"], [], f"{what}: every object verifies")
    if server:
        equal(server.stop(), 143, f"{what}: the server ends when it is asked to")
    check_sound(world, distinct(world.source), what)


def client():
    """A client of a separate server, killed 200 times, bytes counted at a proxy"""
    world = World("kills2")
    photos(world.source, 252, 4000)
    # Claimed first, and completed: there must be enough to die at.
    large_photos(world.source, 48, LARGE)
    video(os.path.join(world.source, "A_000 first.mp4"), 512 * MIB, "client")
    server = world.serve()
    proxy = Proxy(server.port)
    world.run("login", proxy.url, "--token-file", server.token_file, "--json", env={"LANDFALL_PASSWORD": PASSWORD}).expect(0)
    world.unlock("--to", proxy.url)
    proxy.quiet()
    killer = Killer(world, "backup", world.source, "--to", proxy.url, "--json-lines")
    early = [(step, 1) for step in ["complete.intent"] * 10 + ["complete.answered"] * 8 + ["complete.committed"] * 8]
    early += [(UPLOAD[number % len(UPLOAD)], chance.randint(1, 3)) for number in range(26)] + [("random", 0.3)] * 40
    late = [(PREPARE[number % 3], chance.randint(1, 2)) for number in range(24)]
    late += [(REGISTER[number % 4], 1) for number in range(24)] + [("random", 0.03)] * 60
    chance.shuffle(early)
    chance.shuffle(late)
    lost, worst = 0, 0
    for how, argument in early + late:
        before = len(proxy.exchanges)
        killer.die(how, argument)
        proxy.quiet()
        # What was under way and not answered when the process died. Its parts may have to be sent again.
        unanswered = sum(put.received for put in proxy.puts(before) if not put.delivered)
        lost, worst = lost + unanswered, max(worst, unanswered)
    equal(killer.kills, 200, "client: 200 kills")
    for group in ("prepare", "upload", "complete", "register"):
        check(killer.at.get(group, 0) >= 20, f"client: at least 20 kills at {group}.*", killer.at)
    killer.check_takeover("client")
    left = rows(os.path.join(world.home, "journal.db"), "SELECT count(*) FROM item WHERE finished_at IS NULL")[0][0]
    figure(f"client: {left} of the items were left after the last kill")
    world.run("backup", world.source, "--to", proxy.url, "--json").expect(0)
    proxy.quiet()
    check_bytes(world, proxy, lost, worst, killer.kills)
    finish(world, "client", proxy.url, server)


def check_bytes(world, proxy, lost, worst, kills):
    """Nothing that was answered is ever sent again; what is sent again is at most what was unanswered at a kill.

    For each part of each object: needed is its length, once. A part that was sent more than once had, each time but
    the last, no answer when the process died. So bodies <= needed + (unanswered at the kills), and what can be
    unanswered at one kill is at most files at once x parts of one under way x length of a part.
    """
    answered, needed = {}, {}
    for put in proxy.puts():
        needed[put.part] = put.length
        if put.delivered and put.status == 200:
            answered[put.part] = answered.get(put.part, 0) + 1
    twice = [part for part, count in answered.items() if count > 1]
    equal(twice, [], "client: no answered part is sent again")
    refused = sorted({put.status for put in proxy.puts() if put.delivered and put.status != 200})
    equal(refused, [], "client: the server refuses no part")
    once = sum(needed.values())
    stored = rows(os.path.join(world.vault, "server.db"), "SELECT sum(size) FROM upload")[0][0]
    again = proxy.bodies - once
    equal(once, stored, "client: no byte was sent for an object that is not in the vault")
    check(again <= lost, "client: what is sent again was unanswered when the process died", f"{again} > {lost}")
    most = TRANSFERS * PARTS_IN_FLIGHT * PART
    check(worst <= most, "client: what is unanswered at a kill is bounded", f"{worst} > {most}")
    figure(f"client: needed {once / MIB:.1f} MiB, sent again {again / MIB:.1f} MiB in {kills} kills"
           f" ({again / kills / MIB:.2f} MiB each), unanswered at kills {lost / MIB:.1f} MiB, worst {worst / MIB:.1f} MiB"
           f" (bound {most / MIB:.0f} MiB); everything up {proxy.up / MIB:.1f} MiB")


def server():
    """The server, killed 40 times while the client lives"""
    world = World("kills3")
    photos(world.source, 300, 4000)
    # All over, so that there is always one to complete.
    for number in range(0, 300, 7):
        large_photos(world.source, 1, LARGE, seed=f"server {number}", name=f"IMG_{number:05} large.jpg")
    server = world.serve()
    proxy = Proxy(server.port)
    world.run("login", proxy.url, "--token-file", server.token_file, env={"LANDFALL_PASSWORD": PASSWORD}).expect(0)
    world.unlock("--to", proxy.url)
    running = world.start("backup", world.source, "--to", proxy.url, "--json-lines")
    kills = 0
    for number in range(40):
        at = len(proxy.exchanges)
        if number % 2 == 0:
            proxy.wait_for(lambda exchange, enough=at + chance.randint(1, 12): len(proxy.exchanges) >= enough, since=at)
            kills += server.kill()
        else:
            until(lambda: running.ended or server.running.ended, "the server gets to its step", 60)
            if running.ended:
                break
            kills += server.running.wait() == -signal.SIGABRT
        # Every other life ends at a step of its own.
        step = {"binary": SIM, "env": {"LANDFALL_CRASH_AT": f"{SERVER[number // 2 % len(SERVER)]}:{chance.randint(1, 4)}"}}
        server.start(**(step if number % 2 == 0 else {}))
    equal(kills, 40, "server: 40 kills")
    running.expect(0)
    equal(running.count("blocked"), 0, "server: no item is blocked by it")
    figure(f"server: the client took {running.events[-1][0] - running.started:.1f} s, waited {running.count('waiting')} times")
    # The last life may be one that ends at a step; the next sweeps what it left.
    if server.running.process.poll() is None:
        server.stop()
    finish(world, "server", proxy.url, server.start())


if __name__ == "__main__":
    for binary in (BIN, SIM):
        until(lambda: os.access(binary, os.X_OK), f"`{binary}` is there", 1)
    wanted = os.environ.get("LANDFALL_ONLY", "").split()
    for one in (embedded, client, server):
        if not wanted or one.__name__ in wanted:
            scenario(one)
    results.close()
