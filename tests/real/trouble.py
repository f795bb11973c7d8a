"""Trouble: each kind ends with a typed outcome and a remedy, and nothing is lost."""

import atexit
import glob
import os
import random
import shutil
import sqlite3
import subprocess
import time

from landfall import (MIB, PASSWORD, TRANSFERS, Proxy, World, answer, audit_vault, check, check_restored, check_sound, distinct,
                      equal, figure, large_photos, photos, results, rows, scenario, tree,
                      until)

SEED = int(os.environ.get("LANDFALL_SEED") or random.SystemRandom().randrange(1 << 32))
chance = random.Random(SEED)
figure(f"seed {SEED}")


def command(*arguments):
    subprocess.run(arguments, check=True, capture_output=True)


def mounted(*arguments):
    """Mounts until the end of the script."""
    command("mount", *arguments)
    atexit.register(lambda: subprocess.run(["umount", "-l", arguments[-1]], capture_output=True))


def typed(outcome, code, exit_code, what):
    """A failed command says its code, why, and what to type."""
    error = outcome.json.get("error", {}) if outcome.out.strip() else {}
    equal((outcome.code, error.get("code")), (exit_code, code), f"{what}: exit {exit_code}, code {code}")
    check(error.get("hint") and b"hint: " in outcome.err, f"{what}: a remedy is said", outcome.err.decode(errors="replace")[-300:])


def with_server(name, script=None, rate=None, **options):
    world = World(name)
    server = world.serve()
    proxy = Proxy(server.port, script, rate)
    world.run("login", proxy.url, "--token-file", server.token_file, env={"LANDFALL_PASSWORD": PASSWORD}).expect(0)
    world.unlock("--to", proxy.url)
    return world, server, proxy


def finish(world, what, place, server=None, contents=True):
    out = world.path("out")
    token = {"LANDFALL_TOKEN": server.token} if server else None
    world.run("restore", out, "--from", place, "--json", env=token).expect(0)
    check_restored(out, world.source, what)
    if server:
        server.stop()
    if contents:
        check_sound(world, distinct(world.source), what)


def away():
    """The server is away"""
    world, server, proxy = with_server("away")
    photos(world.source, 10)
    world.run("backup", world.source, "--to", proxy.url, "--json").expect(0)
    photos(world.source, 30, seed="later", name="later {}.jpg")
    running = world.start("backup", world.source, "--to", proxy.url, "--patience", "2s", "--json-lines")
    running.event("started")
    server.kill()
    equal(running.wait(60), 5, "away in the middle: exit 5")
    summary = running.all("summary")[0]
    # The proxy takes the connection, and breaks it off: the one is as good as the other.
    check(summary["end"] == "away" and summary["why"]["code"] in ("offline", "answer-lost"), "away in the middle: it says why", summary)
    check("hint: " in running.errors, "away in the middle: a remedy is said", running.errors[-300:])
    queued = world.run("status", "--json").expect(0).json["counts"]["queued"]
    check(queued > 0, "away: files stay queued", queued)
    proxy.refuse()
    photos(world.source, 7, seed="offline", name="offline {}.jpg")
    waiting = world.start("backup", world.source, "--to", proxy.url, "--patience", "60s", "--json-lines")
    # Nobody has to wait for the vault to have handed over everything.
    until(lambda: world.run("status", "--json").json["counts"]["queued"] == queued + 7, "away: all is taken in charge at once")
    waiting.kill()
    outcome = world.run("backup", world.source, "--to", proxy.url, "--patience", "1s", "--json")
    typed(outcome, "offline", 5, "away from the start")
    equal(outcome.json["error"]["queued"], queued + 7, "away from the start: it says how many wait")
    proxy.listen()
    equal(world.run("status", "--safe-to-quit").code, 5, "away: it is said that something is queued")
    server.start()
    world.run("run", "--json").expect(0)
    equal(world.run("status", "--safe-to-quit").code, 0, "away: `run` goes on when it is back")
    finish(world, "away", proxy.url, server)


def short_grants():
    """Grants that last a second"""
    late, slept = set(), []

    def script(exchange):
        # Each part arrives late the first time.
        if exchange.part and exchange.part not in late:
            late.add(exchange.part)
            time.sleep(1.2)
            slept.append(exchange)
        return None

    world, server, proxy = with_server("grants", script)
    server.stop()
    arguments = ("server", "--vault", server.vault, "--listen", f"127.0.0.1:{server.port}", "--grant-ttl", "1s", "--json-lines")
    server.running = world.start(*arguments)
    assert server.running.event("listening"), server.running.errors
    photos(world.source, 6)
    large_photos(world.source, 2, 40 * MIB)
    world.run("backup", world.source, "--to", proxy.url, "--json").expect(0)
    refused = [put for put in slept if put.status and put.status >= 400]
    equal(len(refused), len(late), "grants: each part was refused once, being late")
    attempts = rows(os.path.join(world.home, "journal.db"), "SELECT max(attempts) FROM item")[0][0]
    equal(attempts, 0, "grants: that costs no attempt")
    finish(world, "grants", proxy.url, server)


def throttled():
    """503 with Retry-After"""
    told = []

    def script(exchange):
        if len(told) < 8 and len(proxy.exchanges) % 4 == 3 and exchange.path not in ("/vault/account", "/vault/keys"):
            told.append(exchange)
            return "answer", answer(503, "Service Unavailable", Retry_After="1")
        return None

    world, server, proxy = with_server("throttle")
    proxy.script = script
    photos(world.source, 40)
    running = world.start("backup", world.source, "--to", proxy.url, "--json-lines").expect(0)
    equal(len(told), 8, "throttled: the server said so 8 times")
    # From a little after it was said: what was under way then could not know.
    early = [exchange for said in told for exchange in proxy.exchanges if 0.1 < exchange.started - said.started < 0.9]
    equal(early, [], "throttled: nothing is asked before the time is over")
    check(running.count("waiting") > 0 and all(event["code"] in ("throttled", "server-error") for event in running.all("waiting")),
          "throttled: it says that it waits", running.all("waiting")[:2])
    proxy.script = None
    finish(world, "throttled", proxy.url, server)


def truncated():
    """Answers that are cut off, lost, or never asked for"""
    harm = {"truncate": 0, "lose": 0, "cut": 0}
    dice = random.Random(SEED)

    def script(exchange):
        if dice.random() < 0.15:
            kind = dice.choice(sorted(harm))
            harm[kind] += 1
            return (kind, dice.choice([0, 1, 20])) if kind == "truncate" else (kind,)
        return None

    world, server, proxy = with_server("truncated")
    photos(world.source, 60)
    large_photos(world.source, 3, 40 * MIB)
    proxy.script = script
    world.run("backup", world.source, "--to", proxy.url, "--patience", "120s", "--json").expect(0)
    check(min(harm.values()) > 0, "truncated: every kind of harm was done", harm)
    figure(f"truncated: {harm} of {len(proxy.exchanges)} answers of the backup")
    since = len(proxy.exchanges)
    out, tries = world.path("harmed"), 0
    # Each run may end early, and the next goes on where it stopped.
    while (got := world.run("restore", out, "--from", proxy.url, "--json")).code != 0 and tries < 20:
        check(got.code in (1, 3, 5) and b"hint: " in got.err, f"truncated: restore ends typed ({got.code})", got.err[-300:])
        tries += 1
    figure(f"truncated: restored with {tries} more runs, {len(proxy.exchanges) - since} requests")
    check_restored(out, world.source, "truncated, restored through the same network")
    proxy.script = None
    finish(world, "truncated", proxy.url, server)


def fill(folder, leave):
    """Fills a file system but for some bytes; returns the file that does."""
    path = os.path.join(folder, "filler")
    free = os.statvfs(folder)
    with open(path, "wb") as file:
        file.write(b"\0" * max(free.f_bavail * free.f_bsize - leave, 0))
    return path


def home_full():
    """The disk of the home is full"""
    for leave in (0, 40 << 10, 200 << 10):
        world = World("homefull")
        disk = world.path("disk")
        os.mkdir(disk)
        mounted("-t", "tmpfs", "-o", "size=8m", "none", disk)
        world.home = os.path.join(disk, "home")
        world.env["LANDFALL_HOME"] = world.home
        world.unlock("--to", world.vault)
        photos(world.source, 400, 1500)
        filler = fill(disk, leave)
        what = f"home full, {leave >> 10} KiB left"
        typed(world.run("backup", world.source, "--to", world.vault, "--json"), "home-full", 5, what)
        world.run("status", "--json").expect(0)
        os.remove(filler)
        world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
        finish(world, what, world.vault)
        command("umount", disk)


def vault_full():
    """The disk of the vault is full"""
    world = World("vaultfull")
    disk = world.path("disk")
    os.mkdir(disk)
    mounted("-t", "tmpfs", "-o", "size=24m", "none", disk)
    world.vault = os.path.join(disk, "vault")
    world.unlock("--to", world.vault)
    photos(world.source, 20)
    large_photos(world.source, 3, 20 * MIB)
    outcome = world.run("backup", world.source, "--to", world.vault, "--patience", "2s", "--json-lines")
    equal(outcome.code, 5, "vault full: exit 5")
    end = outcome.kind("summary")[0]
    equal((end["end"], end["why"]["code"]), ("away", "vault-full"), "vault full: it says why")
    check(b"hint: " in outcome.err, "vault full: a remedy is said", outcome.err[-300:])
    command("mount", "-o", "remount,size=200m", disk)
    world.run("run", "--json").expect(0)
    finish(world, "vault full", world.vault)
    # Not even room for the database's own files.
    filler = fill(disk, 0)
    photos(world.source, 5, seed="more", name="more {}.jpg")
    outcome = world.run("backup", world.source, "--to", world.vault, "--patience", "1s", "--json")
    equal(outcome.code, 5, "vault full to the last byte: exit 5")
    check(b"vault-full" in outcome.out or b"full" in outcome.err, "vault full to the last byte: it says so", outcome.err[-400:])
    os.remove(filler)
    world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
    shutil.rmtree(world.path("out"))
    finish(world, "vault full to the last byte", world.vault)


def read_only():
    """The home is read-only"""
    world = World("readonly")
    photos(world.source, 10)
    world.unlock("--to", world.vault)
    world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
    photos(world.source, 3, seed="new", name="new {}.jpg")
    before = tree(world.home)
    command("mount", "--bind", world.home, world.home)
    mounted("-o", "remount,bind,ro", world.home)
    typed(world.run("backup", world.source, "--to", world.vault, "--json"), "home-read-only", 8, "read-only home")
    equal(world.run("status", "--json").expect(0).json["counts"]["done"], 10, "read-only home: `status` shows the queue")
    equal(len(world.run("ls", "--from", world.vault, "--json").expect(0).json["items"]), 10, "read-only home: `ls` lists the vault")
    world.run("doctor").expect(0, 3)
    world.run("restore", world.path("ro"), "--from", world.vault, "--json").expect(0)
    check_restored(world.path("ro"), world.source, "read-only home", lambda path: b"new" not in path)
    check(tree(world.home) == before, "read-only home: nothing in it changed")
    command("umount", world.home)
    world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
    finish(world, "read-only home, writable again", world.vault)


def read_only_vault():
    """The vault is on read-only media"""
    world = World("readonlyvault")
    photos(world.source, 12)
    world.unlock("--to", world.vault)
    world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
    # A second one as it was while a process was at it: rows are in the database's log only.
    busy = world.path("busy")
    holder = sqlite3.connect(os.path.join(world.vault, "server.db"))
    holder.execute("SELECT count(*) FROM file").fetchone()
    photos(world.source, 2, seed="late", name="late {}.jpg")
    world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
    shutil.copytree(world.vault, busy)
    check(os.path.getsize(os.path.join(busy, "server.db-wal")) > 0, "read-only vault: one copy has a log")
    holder.close()
    secret = {"LANDFALL_PASSWORD": PASSWORD}
    for vault, what in ((world.vault, "read-only vault"), (busy, "read-only vault with a log")):
        before = tree(vault)
        command("mount", "--bind", vault, vault)
        mounted("-o", "remount,bind,ro", vault)
        # With the home that knows it, and on another machine with the password alone.
        for home in (world.home, world.path("elsewhere")):
            at, out = ("--home", home, "--from", vault, "--json"), world.path("out " + os.path.basename(home) + what)
            equal(len(world.run("ls", *at, env=secret).expect(0).json["items"]), distinct(world.source), f"{what}: `ls` lists it")
            equal(world.run("verify", "--read-data", *at, env=secret).expect(0).json["problems"], [], f"{what}: `verify` reads it")
            world.run("restore", out, *at, env=secret).expect(0)
            check_restored(out, world.source, what)
        number = str(world.run("ls", "--from", vault, "--json", env=secret).json["items"][0]["id"])
        typed(world.run("rm", number, "--from", vault, "--json", env=secret), "vault-read-only", 8, f"{what}, rm")
        photos(world.source, 1, seed=what, name=what + " {}.jpg")
        typed(world.run("backup", world.source, "--to", vault, "--json", env=secret), "vault-read-only", 8, f"{what}, backup")
        os.remove(os.path.join(world.source, what + " 0.jpg"))
        check(tree(vault) == before, f"{what}: nothing in it changed")
        command("umount", vault)


def wrong_password():
    """A wrong password"""
    world = World("password")
    photos(world.source, 3)
    right, wrong = {"LANDFALL_PASSWORD": PASSWORD}, {"LANDFALL_PASSWORD": "guess"}
    world.run("backup", world.source, "--to", world.vault, "--json", env=right).expect(0)
    photos(world.source, 3, seed="new", name="new {}.jpg")
    before = tree(os.path.join(world.vault, "blobs"))
    typed(world.run("backup", world.source, "--to", world.vault, "--json", env=wrong), "wrong-password", 4, "wrong password, backup")
    typed(world.run("restore", world.path("no"), "--from", world.vault, "--json", env=wrong), "wrong-password", 4, "wrong password, restore")
    typed(world.run("backup", world.source, "--to", world.vault, "--json"), "locked", 4, "no password")
    check(tree(os.path.join(world.vault, "blobs")) == before and not os.path.exists(world.path("no")), "wrong password: nothing is written")
    world.run("backup", world.source, "--to", world.vault, "--json", env=right).expect(0)
    world.unlock("--to", world.vault)
    finish(world, "wrong password, then the right one", world.vault)


def flip_header(path):
    """flipped header"""
    with open(path, "r+b") as file:
        file.write(bytes(byte ^ 0x5A for byte in file.read(16)[:16]) if not file.seek(0) else b"")


def flip_pages(path):
    """flipped b-tree pages"""
    with open(path, "r+b") as file:
        pages = os.path.getsize(path) // 4096
        for page in range(1, pages, 3):
            file.seek(page * 4096)
            head = file.read(12)
            file.seek(page * 4096)
            file.write(bytes(byte ^ 0xFF for byte in head))


def flip_one_page(path):
    """one flipped page"""
    with open(path, "r+b") as file:
        page = chance.randrange(1, os.path.getsize(path) // 4096)
        file.seek(page * 4096)
        file.write(chance.randbytes(4096))


def flip_schema(path):
    """flipped schema"""
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(chance.randbytes(400))


def cut_short(path):
    """half of it missing"""
    os.truncate(path, os.path.getsize(path) // 2 // 4096 * 4096)


def delete(path):
    """deleted journal"""
    for name in glob.glob(path + "*"):
        os.remove(name)


def damaged_journal():
    """The journal is damaged or gone"""
    world, server, proxy = with_server("journal")
    photos(world.source, 120)
    large_photos(world.source, 2, 20 * MIB)
    world.run("backup", world.source, "--to", proxy.url, "--json").expect(0)
    healthy = world.path("healthy")
    shutil.copytree(world.home, healthy)
    for number, harm in enumerate([flip_header, flip_pages, flip_one_page, flip_one_page, flip_schema, cut_short, delete]):
        what = harm.__doc__
        shutil.rmtree(world.home)
        shutil.copytree(healthy, world.home)
        journal = os.path.join(world.home, "journal.db")
        harm(journal)
        damaged = open(journal, "rb").read() if os.path.exists(journal) else None
        photos(world.source, 3, seed=f"new {number}", name=f"new {number} {{}}.jpg")
        before = tree(os.path.join(world.vault, "blobs"))
        since = len(proxy.exchanges)
        # The token of the server was in the journal, too.
        token = {"LANDFALL_TOKEN": server.token}
        outcome = world.run("backup", world.source, "--to", proxy.url, "--json", env=token)
        equal(outcome.code, 0, f"{what}: the next backup heals it")
        if outcome.code:
            print(outcome.err.decode()[-800:])
            continue
        aside = glob.glob(os.path.join(world.home, "journal.db.damaged-*"))
        aside = [path for path in aside if not path.endswith(("-wal", "-shm"))]
        if damaged is not None:
            check(len(aside) == 1 and open(aside[0], "rb").read() == damaged, f"{what}: it is set aside untouched", aside)
            check(b"journal-damaged" in outcome.err and b"hint: " in outcome.err, f"{what}: it says so", outcome.err[-300:])
        # What the journal lost of earlier rounds is in the vault as well.
        equal(outcome.json["uploaded"], 3, f"{what}: only what the vault lacks is uploaded")
        after = tree(os.path.join(world.vault, "blobs"))
        grown = sum(entry[1] for path, entry in after.items() if path not in before)
        sent = sum(put.received for put in proxy.puts(since))
        check(sent == grown and sent < 3 * 20_000, f"{what}: only its bytes are sent", f"{sent} sent, {grown} new")
        check(all(after.get(path) == entry for path, entry in before.items()), f"{what}: what was there is as it was")
        equal(len(after) - len(before), 6, f"{what}: three files, three thumbnails")
    finish(world, "damaged journal", proxy.url, server)


def truncated_wal():
    """The write-ahead log is cut short"""
    fractions = [0, 0.1, 0.35, 0.6, 0.85, 0.99]
    for number, fraction in enumerate(fractions):
        what = f"log cut to {fraction:.0%}"
        world, server, proxy = with_server("wal")
        photos(world.source, 150)
        large_photos(world.source, 1, 40 * MIB)
        running = world.start("backup", world.source, "--to", proxy.url, "--json-lines")
        enough = chance.randint(5, 60)
        running.event(lambda event: running.count("done") >= enough)
        running.kill()
        proxy.quiet()
        acknowledged = running.count("done")
        log = os.path.join(world.home, "journal.db-wal")
        os.truncate(log, int(os.path.getsize(log) * fraction))
        database = os.path.join(world.vault, "server.db")
        held = set(rows(database, "SELECT id, file_key FROM file WHERE is_deleted = 0"))
        since = len(proxy.exchanges)
        again = world.run("backup", world.source, "--to", proxy.url, "--json", env={"LANDFALL_TOKEN": server.token, "LANDFALL_PASSWORD": PASSWORD})
        equal(again.code, 0, f"{what}: the next backup goes on")
        now = set(rows(database, "SELECT id, file_key FROM file WHERE is_deleted = 0"))
        check(held <= now and len(now) == distinct(world.source), f"{what}: {len(held)} held before are as they were, {acknowledged} acknowledged")
        resent = [put.part for put in proxy.puts(since) if put.part[0] in {key for _, key in held}]
        equal(resent, [], f"{what}: nothing is sent that the vault holds")
        # Those whose registration was under way when the process died are its own, and told of now.
        surplus = again.json["uploaded"] - (len(now) - len(held))
        check(0 <= surplus <= TRANSFERS, f"{what}: only what it lacks is uploaded", surplus)
        finish(world, what, proxy.url, server, contents=False)
        wrong = [one for one in audit_vault(world.vault, distinct(world.source)) if "is open" not in one and "no file has it" not in one]
        equal(wrong, [], f"{what}: one object per content, nothing left over but uploads that nobody remembers")


if __name__ == "__main__":
    wanted = os.environ.get("LANDFALL_ONLY", "").split()
    for one in (away, short_grants, throttled, truncated, home_full, vault_full, read_only, read_only_vault, wrong_password,
                damaged_journal, truncated_wal):
        if not wanted or one.__name__ in wanted:
            scenario(one)
    results.close()
