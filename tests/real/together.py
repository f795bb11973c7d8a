"""Several processes on one home, several homes on one vault, and a process that stands still for too long."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

from landfall import (MIB, PASSWORD, Proxy, World, check, check_restored, check_sound, distinct, equal, figure, photos,
                      results, rows, scenario, tree, until, video)

#: A worker whose beat stands still this long is taken for stopped; the other has it all by then.
STOPPED_AFTER, TAKEN_OVER_WITHIN = 15.0, 30.0


def one_home():
    """Two backups on one home and one vault folder"""
    world = World("together1")
    photos(world.source, 150, 4000)
    video(os.path.join(world.source, "A.mp4"), 200 * MIB, "together")
    world.unlock("--to", world.vault)
    # The limit counts the items of all processes: with a higher one, the second finds room beside what the first has claimed.
    first = world.start("backup", world.source, "--to", world.vault, "--transfers", "3", "--json-lines")
    first.event("done")
    stand_still(first, [os.path.join(world.home, "journal.db"), os.path.join(world.vault, "server.db")], locked=False)
    second = world.start("backup", world.source, "--to", world.vault, "--transfers", "6", "--json-lines")
    second.event("done")
    first.signal(signal.SIGCONT)
    both = [first, second]
    for running in both:
        running.expect(0)
    check(all(running.count("done") for running in both), "one home: both have done something")
    done = [event["item"] for running in both for event in running.all("done")]
    equal(sorted(done), sorted(set(done)), "one home: no item is done twice")
    equal(len(done), 151, "one home: every item is done")
    uploaded = sum(event["uploaded"] for running in both for event in running.all("done"))
    equal(uploaded, distinct(world.source), "one home: every content is uploaded once")
    figure(f"one home: the two did {[running.count('done') for running in both]} items")
    sent = sum(event["bytes"] for running in both for event in running.all("stored"))
    files = rows(os.path.join(world.vault, "server.db"), "SELECT sum(file_size) FROM file WHERE is_deleted = 0")[0][0]
    equal(sent, files, "one home: every byte is sent once")
    check_sound(world, distinct(world.source), "one home")
    world.run("restore", world.path("out"), "--from", world.vault).expect(0)
    check_restored(world.path("out"), world.source, "one home")


def dump(database, leave_out=()):
    """All rows of all tables, in order, but for tables (or `table.column`s) that may change."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
    connection.text_factory = bytes
    try:
        found = {}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"):
            table = table.decode()
            if table in leave_out:
                continue
            names = [row[1].decode() for row in connection.execute(f"PRAGMA table_info({table})")]
            names = [name for name in names if f"{table}.{name}" not in leave_out]
            found[table] = sorted(connection.execute(f"SELECT {', '.join(names)} FROM {table}"), key=repr)
        return found
    finally:
        connection.close()


def changes(before, after):
    return [f"{table}: {[row for row in after[table] if row not in before[table]][:2]} for "
            f"{[row for row in before[table] if row not in after[table]][:2]}"
            for table in before if before[table] != after[table]]


MOMENTS = {
    "part": lambda exchange: exchange.part is not None and exchange.part[1] == 2,
    "complete": lambda exchange: exchange.method == "POST" and exchange.path.endswith("/complete"),
    "register": lambda exchange: exchange.method == "POST" and exchange.path == "/files",
}


def stopped(moment, held):
    """A process stands still in the middle of a request, and comes back after the other has done its work"""
    name = f"stopped at {moment}{', its request late' if held else ''}"
    world = World("together2")
    photos(world.source, 3, 4000)
    photos(world.source, 1, 40 * MIB, seed="big", name="A.jpg")
    server = world.serve()
    here = threading.Event()
    go_on = threading.Event()
    frozen = {}

    def script(exchange):
        if not here.is_set() and "process" in frozen and MOMENTS[moment](exchange):
            frozen["process"].signal(signal.SIGSTOP)
            frozen["at"] = time.monotonic()
            here.set()
            if held:
                go_on.wait(120)
        return None

    proxy = Proxy(server.port, script)
    world.run("login", proxy.url, "--token-file", server.token_file, env={"LANDFALL_PASSWORD": PASSWORD}).expect(0)
    world.unlock("--to", proxy.url)
    first = world.start("backup", world.source, "--to", proxy.url, "--transfers", "1", "--json-lines")
    frozen["process"] = first
    assert here.wait(60), "the moment never came"
    second = world.start("backup", world.source, "--to", proxy.url, "--json-lines")
    took, said = second.event("took-over", 60)
    equal(said["pid"], first.pid, f"{name}: the other names whom it took over from")
    waited = took - frozen["at"]
    check(STOPPED_AFTER - 1 <= waited <= TAKEN_OVER_WITHIN, f"{name}: taken over within 30 s", f"after {waited:.1f} s")
    second.expect(0)
    until(lambda: second.process.returncode is not None, "the second ends")
    journal, vault = os.path.join(world.home, "journal.db"), os.path.join(world.vault, "server.db")
    # Who is at work, and when an upload was last looked at, are no part of what is being kept.
    loose = ("worker", "upload.touched_ms")
    before = dump(journal, loose), dump(vault, loose), tree(os.path.join(world.vault, "blobs"))
    go_on.set()
    first.signal(signal.SIGCONT)
    first.expect(0, seconds=60)
    after = dump(journal, loose), dump(vault, loose), tree(os.path.join(world.vault, "blobs"))
    equal(changes(before[0], after[0]), [], f"{name}: coming back changes nothing in the journal")
    equal(changes(before[1], after[1]), [], f"{name}: coming back changes nothing in the vault")
    check(before[2] == after[2], f"{name}: coming back changes no blob")
    figure(f"{name}: taken over after {waited:.1f} s")
    world.run("restore", world.path("out"), "--from", proxy.url).expect(0)
    check_restored(world.path("out"), world.source, name)
    proxy.quiet()
    server.stop()
    check_sound(world, distinct(world.source), name)


def is_locked(journal):
    """Whether somebody is in the middle of a write transaction; `None` where one is just taking or leaving a lock."""
    connection = sqlite3.connect(journal, timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        return False
    except sqlite3.OperationalError as error:
        if "locking protocol" in str(error):
            return None
        if "locked" not in str(error):
            raise
        return True
    finally:
        connection.close()


def stand_still(process, databases, locked):
    """Stops a process at a moment when it is inside a write transaction of a database, or of none; says after how many tries."""
    for tries in range(5000):
        process.signal(signal.SIGSTOP)
        until(lambda: open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T", "it stands still", 5, 0.001)
        if any(is_locked(database) for database in databases) == locked:
            return tries
        process.signal(signal.SIGCONT)
        # Another moment than the last.
        time.sleep(random.uniform(0, 0.003))
        if process.ended:
            break
    raise AssertionError(f"it was never caught {'inside a' if locked else 'between'} transaction{'' if locked else 's'}")


def end_of_stop(process, how):
    """Has a process that stands still go on to its end, or ends it"""
    if how == "continued":
        process.signal(signal.SIGCONT)
        process.expect(0)
    else:
        process.kill()


def inside(how):
    """A process stands still inside a write transaction; the other waits and names it"""
    name = f"stopped inside a transaction, then {how}"
    world = World("together3")
    photos(world.source, 400, 3000)
    world.unlock("--to", world.vault)
    first = world.start("backup", world.source, "--to", world.vault, "--json-lines")
    first.event("started")
    tries = stand_still(first, [os.path.join(world.home, "journal.db")], locked=True)
    second = world.start("backup", world.source, "--to", world.vault, "--json-lines")
    at, said = second.event("journal-held", 60)
    equal(said["pid"], first.pid, f"{name}: the other names the holder")
    figure(f"{name}: named after {at - second.started:.1f} s, caught after {tries} tries")
    equal(second.process.poll(), None, f"{name}: the other waits")
    end_of_stop(first, how)
    second.expect(0)
    world.run("backup", world.source, "--to", world.vault).expect(0)
    world.run("restore", world.path("out"), "--from", world.vault).expect(0)
    check_restored(world.path("out"), world.source, name)
    check_sound(world, distinct(world.source), name)


def inside_the_vault(how):
    """A process stands still inside a write transaction of the vault folder; the others wait, however long, and name it"""
    name = f"stopped inside the vault's transaction, then {how}"
    world = World("together6")
    mine, other = world.path("a", "Pictures"), world.path("b", "Pictures")
    photos(mine, 400, 3000, seed="mine", name="mine {}.jpg")
    photos(other, 400, 3000, seed="other", name="other {}.jpg")
    homes = [world.path("home a"), world.path("home b")]
    for home in homes:
        world.unlock("--to", world.vault, "--home", home)

    def start(folder, home):
        return world.start("backup", folder, "--to", world.vault, "--json-lines", "--patience", "1s", "--home", home,
                           env={"LANDFALL_DEVICE": home})

    first, second = start(mine, homes[0]), start(other, homes[1])
    first.event("done")
    second.event("done")
    server = os.path.join(world.vault, "server.db")
    # So that it has something left to do.
    stand_still(second, [server], locked=False)
    tries = stand_still(first, [server], locked=True)
    second.signal(signal.SIGCONT)
    # Another that only comes now, of the same home as the second.
    third = start(other, homes[1])
    began = time.monotonic()
    at, said = second.event(lambda event: event["type"] == "waiting" and event["code"] == "vault-held", 90)
    check(str(first.pid) in said["message"], f"{name}: one at work names the holder", said["message"])
    _, said = third.event("vault-held", 90)
    equal(said["pid"], first.pid, f"{name}: one that opens the vault names the holder")
    figure(f"{name}: named after {at - began:.1f} s, caught after {tries} tries")
    equal((second.process.poll(), third.process.poll()), (None, None), f"{name}: both wait, longer than their patience")

    def beats():
        return dict(rows(os.path.join(homes[1], "journal.db"), "SELECT pid, beat FROM worker"))

    before = beats()[second.pid]
    until(lambda: beats()[second.pid] > before, f"{name}: one that waits is seen to live", 12)
    for more, code in ((("--budget", "3s"), 5), (("--patience", "0s"), 5)):
        began = time.monotonic()
        hurried = world.run("backup", other, "--to", world.vault, "--home", homes[1], *more, env={"LANDFALL_DEVICE": homes[1]})
        equal(hurried.code, code, f"{name}: one with {' '.join(more)} ends")
        check(time.monotonic() - began < 15, f"{name}: and soon", f"after {time.monotonic() - began:.1f} s")
    stopping = start(other, homes[1])
    stopping.event("vault-held", 60)
    began = time.monotonic()
    stopping.signal(signal.SIGINT)
    stopping.expect(130)
    check(time.monotonic() - began < 3, f"{name}: one that is told to stop does", f"after {time.monotonic() - began:.1f} s")
    end_of_stop(first, how)
    second.expect(0)
    third.expect(0)
    for folder, home in zip((mine, other), homes):
        world.run("backup", folder, "--to", world.vault, "--home", home, env={"LANDFALL_DEVICE": home}).expect(0)
    world.run("restore", world.path("out"), "--from", world.vault, "--home", homes[0]).expect(0)
    check(tree(world.path("out", "Pictures")) == {**tree(mine), **tree(other)}, f"{name}: everything comes back identical")
    for home in homes:
        check_sound(world, distinct(mine, other), f"{name}, {os.path.basename(home)}", home=home)


#: Where the locks of SQLite's readers lie in the file that its processes share (sqlite.org/walformat.html, section 2.3.1).
READ_MARKS = (123, 5)


def between_locks():
    """A process stands still while it takes a lock of a reader; the other waits, however long"""
    name = "stopped between two locks"
    world = World("together7")
    photos(world.source, 20, 3000)
    world.unlock("--to", world.vault)
    journal = os.path.join(world.home, "journal.db")
    # Somebody else is there, so that what the processes share stays.
    other = sqlite3.connect(journal)
    other.execute("SELECT count(*) FROM item").fetchall()
    # Locks of this process: not a word of SQLite's may be said in it before they are let go.
    with open(f"{journal}-shm", "r+b") as shared:
        holder = subprocess.Popen([sys.executable, "-c", HOLD, str(shared.fileno()), *map(str, READ_MARKS)], pass_fds=[shared.fileno()],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdout.readline()
        running = world.start("backup", world.source, "--to", world.vault, "--json-lines")
        # SQLite itself gives up after ten seconds.
        time.sleep(14)
        equal(running.process.poll(), None, f"{name}: the other waits")
        holder.kill()
        holder.wait()
    running.expect(0)
    other.close()
    check_sound(world, distinct(world.source), name)


#: Takes locks, says so, and holds them until it is killed.
HOLD = """
import fcntl, sys, time
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX, int(sys.argv[3]), int(sys.argv[2]))
print(flush=True)
time.sleep(600)
"""


def first_ones(homes):
    """Two first backups at once on an empty vault make one set of keys"""
    name = f"first backups of {homes} home{'s' if homes > 1 else ''}"
    world = World("together4")
    photos(world.source, 20)
    password = {"LANDFALL_PASSWORD": PASSWORD}
    names = ["home", "home2" if homes > 1 else "home"]
    both = [world.start("backup", world.source, "--to", world.vault, "--json-lines", "--home", world.path(home),
                        env={**password, "LANDFALL_DEVICE": home}) for home in names]
    for running in both:
        running.expect(0)
    keys = [event["recovery_key"] for running in both for event in running.all("recovery-key")]
    equal(len(keys), 1, f"{name}: one set of keys is made, and shown once")
    equal(rows(os.path.join(world.vault, "server.db"), "SELECT count(*) FROM key_attributes")[0][0], 1, f"{name}: the vault has one set")
    for how, env in (("password", password), ("recovery key", {"LANDFALL_RECOVERY_KEY": keys[0]})):
        out = world.path(f"out {how}")
        world.run("restore", out, "--from", world.vault, "--home", world.path("elsewhere"), env=env).expect(0)
        check_restored(out, world.source, f"{name}, with the {how}")
    for home in set(names):
        check_sound(world, distinct(world.source), f"{name}, {home}", home=world.path(home))


def two_homes():
    """Two homes back the same and other files up to one vault folder at once"""
    world = World("together5")
    mine, other = world.path("a", "Pictures"), world.path("b", "Pictures")
    for folder in (mine, other):
        photos(folder, 80, 3000, seed="same")
        photos(folder, 3, 17 * MIB, seed="same big", name="big {}.jpg")
    photos(mine, 20, 3000, seed="mine", name="mine {}.jpg")
    photos(other, 20, 3000, seed="other", name="other {}.jpg")
    homes = [world.path("home a"), world.path("home b")]
    for home in homes:
        world.unlock("--to", world.vault, "--home", home)
    both = [world.start("backup", folder, "--to", world.vault, "--json-lines", "--home", home, env={"LANDFALL_DEVICE": home})
            for home, folder in zip(homes, (mine, other))]
    for running in both:
        running.expect(0)
    figure(f"two homes: done {[running.count('done') for running in both]}, uploaded "
           f"{[sum(event['uploaded'] for event in running.all('done')) for running in both]}")
    for home in homes:
        check_sound(world, distinct(mine, other), f"two homes, {os.path.basename(home)}", home=home)
    world.run("restore", world.path("out"), "--from", world.vault, "--home", homes[0]).expect(0)
    # Both have a folder of this name, and they do not disagree: what is in either is in what comes back.
    check(tree(world.path("out", "Pictures")) == {**tree(mine), **tree(other)}, "two homes: the files of both come back identical")


def all_at_once(jobs):
    """What mostly waits may wait at the same time."""
    threads = [threading.Thread(target=scenario, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    wanted = os.environ.get("LANDFALL_ONLY", "").split()
    jobs = [(one_home,), (two_homes,), (first_ones, 1), (first_ones, 2), (inside, "continued"), (inside, "killed")]
    held = [(inside_the_vault, "continued"), (inside_the_vault, "killed"), (between_locks,)]
    for job in jobs:
        if not wanted or job[0].__name__ in wanted:
            scenario(*job)
    all_at_once([job for job in held if not wanted or job[0].__name__ in wanted])
    if not wanted or "stopped" in wanted:
        all_at_once([(stopped, moment, held) for moment in MOMENTS for held in (False, True)])
    results.close()
