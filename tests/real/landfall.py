"""What the tests with real processes share: worlds, media, the command line, a proxy that counts, and an audit.

Nothing here waits by sleeping for a guessed time: it waits for an event or for a condition, up to a deadline.
"""

import atexit
import base64
import collections
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

BIN = os.environ.get("LANDFALL_BIN") or "target/release/landfall"
SIM = os.environ.get("LANDFALL_SIM_BIN") or "target/sim/release/landfall"
PASSWORD = "correct horse battery staple"
MIB = 1 << 20
#: Plaintext of a chunk, and what sealing adds to it.
CHUNK, CHUNK_EXTRA = 4 * MIB, 17
#: Chunks per part, parts of one file under way at once, and files at once.
PART_CHUNKS, PARTS_IN_FLIGHT, TRANSFERS = 4, 2, 4
PART = PART_CHUNKS * (CHUNK + CHUNK_EXTRA)


# --- results ---------------------------------------------------------------------------------------------------------

class Results:
    """Counts checks, and closes a script with one line."""

    def __init__(self):
        self.passed = self.failed = 0
        self.started = time.monotonic()

    def check(self, held, what, detail=""):
        if held:
            self.passed += 1
            print(f"ok      {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED  {what}{': ' if detail != '' else ''}{detail}", flush=True)
        return bool(held)

    def equal(self, found, wanted, what):
        return self.check(found == wanted, what, f"found {short(found)}, wanted {short(wanted)}")

    def figure(self, text):
        print(f"figure  {text}", flush=True)

    def close(self):
        print(f"took {time.monotonic() - self.started:.1f} s")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed else 0)


def short(value, most=600):
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"


results = Results()
check, equal, figure = results.check, results.equal, results.figure


def section(title):
    print(f"-- {title}", flush=True)


def scenario(function, *arguments):
    """Runs one scenario; what it raises fails the script and lets the others go on."""
    section(function.__doc__.strip().splitlines()[0] if function.__doc__ else function.__name__)
    try:
        function(*arguments)
    except Exception as error:  # every kind: the scenario did not come to its end
        import traceback
        traceback.print_exc(file=sys.stdout)
        check(False, f"{function.__name__} comes to its end", f"{type(error).__name__}: {error}")


def until(condition, what, seconds=30.0, pause=0.01):
    """Polls until `condition` gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


# --- processes -------------------------------------------------------------------------------------------------------

_living = set()


@atexit.register
def _end_all():
    for process in list(_living):
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


class Outcome:
    """How a command ended."""

    def __init__(self, arguments, code, out, err, took):
        self.arguments, self.code, self.out, self.err, self.took = arguments, code, out, err, took

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def events(self):
        return [json.loads(line) for line in self.out.splitlines() if line.startswith(b"{")]

    def kind(self, kind):
        return [event for event in self.events if event["type"] == kind]

    def expect(self, *codes):
        if self.code not in (codes or (0,)):
            raise AssertionError(f"`{' '.join(map(str, self.arguments))}` ended with {self.code}: "
                                 f"{self.err.decode(errors='replace')[-2000:]} {self.out.decode(errors='replace')[-2000:]}")
        return self


class Running:
    """A command that is under way; its JSON lines are read as they come."""

    def __init__(self, command, env, errors):
        self.arguments = command
        self.started = time.monotonic()
        self.errors_path = errors
        with open(errors, "wb") as err:
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err)
        _living.add(self.process)
        self.events, self.changed, self.ended = [], threading.Condition(), False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            # A killed process may leave half a line.
            try:
                event = json.loads(line)
            except ValueError:
                continue
            with self.changed:
                self.events.append((time.monotonic(), event))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    @property
    def pid(self):
        return self.process.pid

    @property
    def errors(self):
        with open(self.errors_path, "rb") as file:
            return file.read().decode(errors="replace")

    def event(self, wanted, seconds=60.0, after=0):
        """Waits for an event and returns (moment, event); None if the process ended without one."""
        test = wanted if callable(wanted) else lambda event: event["type"] == wanted
        deadline = time.monotonic() + seconds
        with self.changed:
            seen = after
            while True:
                for index in range(seen, len(self.events)):
                    if test(self.events[index][1]):
                        return self.events[index]
                seen = len(self.events)
                if self.ended:
                    return None
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no event `{wanted}` within {seconds:.0f} s: {self.errors[-500:]}")
                self.changed.wait(left)

    def count(self, kind):
        with self.changed:
            return sum(event["type"] == kind for _, event in self.events)

    def all(self, kind):
        with self.changed:
            return [event for _, event in self.events if event["type"] == kind]

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """Kills it at once; `False` if it had ended by itself before."""
        self.process.kill()
        return self.wait() == -signal.SIGKILL

    def wait(self, seconds=300.0):
        code = self.process.wait(seconds)
        self.reader.join(10)
        self.process.stdout.close()
        _living.discard(self.process)
        return code

    def expect(self, *codes, seconds=300.0):
        code = self.wait(seconds)
        if code not in (codes or (0,)):
            raise AssertionError(f"`{' '.join(map(str, self.arguments))}` ended with {code}: {self.errors[-2000:]} "
                                 f"{short([event for _, event in self.events[-5:]])}")
        return self


# --- worlds ----------------------------------------------------------------------------------------------------------

class World:
    """A folder with a home, a vault, sources and a place for what comes back; removed at the end."""

    def __init__(self, name, folder=None):
        base = folder or os.environ.get("LANDFALL_TEST_DIR") or None
        self.folder = tempfile.mkdtemp(prefix=f"landfall-{name}-", dir=base)
        self.home, self.vault = self.path("home"), self.path("vault")
        self.source = self.path("Pictures")
        for made in (self.source, self.path("tmp"), self.path("log")):
            os.mkdir(made)
        self.number = 0
        self.env = {
            "PATH": os.environ["PATH"], "TMPDIR": self.path("tmp"), "HOME": self.path("nobody"), "LANG": "C.UTF-8",
            "LANDFALL_DEVICE": "device", "LANDFALL_HOME": self.home,
        }
        if not os.environ.get("LANDFALL_KEEP"):
            atexit.register(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def _env(self, extra):
        env = dict(self.env)
        env.update({name: str(value) for name, value in (extra or {}).items() if value is not None})
        for name, value in (extra or {}).items():
            if value is None:
                env.pop(name, None)
        return env

    def run(self, *arguments, env=None, seconds=300.0, binary=None, wrap=()):
        command = [*wrap, binary or BIN, *map(_argument, arguments)]
        start = time.monotonic()
        ended = subprocess.run(command, env=self._env(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
        return Outcome(arguments, ended.returncode, ended.stdout, ended.stderr, time.monotonic() - start)

    def start(self, *arguments, env=None, binary=None, wrap=()):
        self.number += 1
        command = [*wrap, binary or BIN, *map(_argument, arguments)]
        return Running(command, self._env(env), self.path("log", f"{self.number}.err"))

    def unlock(self, *more, env=None):
        """Keeps the key of a vault, which is made if it is a folder without one."""
        new = ["--new-vault"] if not any("://" in str(one) for one in more) else []
        return self.run("unlock", "--remember", "--json", *new, *more, env={"LANDFALL_PASSWORD": PASSWORD, **(env or {})}).expect(0)

    def serve(self, **options):
        return Server(self, **options)


def _argument(value):
    return value if isinstance(value, (str, bytes)) else str(value)


class Server:
    """A separate `landfall server`, which comes back on the same port when it is started again."""

    def __init__(self, world, vault=None, account="anna", binary=None):
        self.world, self.vault, self.port = world, vault or world.vault, 0
        added = world.run("server", "account", "add", account, "--vault", self.vault, "--json").expect(0)
        self.token = added.json["token"]
        self.token_file = world.path("token")
        with open(self.token_file, "w") as file:
            file.write(self.token)
        self.running = None
        self.start(binary=binary)

    def start(self, binary=None, env=None):
        arguments = ("server", "--vault", self.vault, "--listen", f"127.0.0.1:{self.port}", "--json-lines")
        deadline = time.monotonic() + 20
        while True:
            self.running = self.world.start(*arguments, binary=binary, env=env)
            said = self.running.event("listening", 30)
            if said:
                break
            # The port may still be somebody else's for a moment.
            if time.monotonic() > deadline:
                raise AssertionError(f"the server does not start: {self.running.errors}")
            self.running.wait()
        self.url = said[1]["url"]
        self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def kill(self):
        return self.running.kill()

    def stop(self):
        self.running.signal(signal.SIGTERM)
        return self.running.wait(60)


# --- media -----------------------------------------------------------------------------------------------------------

#: A real JPEG of 24×16 pixels.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7gYKBTmCNl4"
    "x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/wAARCAAQ"
    "ABgDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABQAE/8QAFxAAAwEAAAAAAAAAAAAAAAAAAAMEYf/EABYBAQEBAAAAAAAAAAAAAAAAAA"
    "MEBf/EABkRAAIDAQAAAAAAAAAAAAAAAAAEAQIhA//aAAwDAQACEQMRAD8ACXJhpXJgmuTDUuTBLsALtBi5MIcXJhE0sabXNrD/2Q==")
#: The head of an MP4 video.
FTYP = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"
#: Long enough ago that nobody takes a file for one that is still being written.
LONG_AGO_NS = 1_600_000_000_123_456_789


def jpeg(seed, size=2000):
    """A JPEG whose comment segments make it as long as asked for, and unlike any other."""
    filler = random.Random(f"jpeg {seed}")
    comments, left = [], max(size - len(JPEG), 24)
    while left > 0:
        length = min(left, 60_000)
        comments.append(b"\xff\xfe" + (length + 2).to_bytes(2, "big") + filler.randbytes(length))
        left -= length
    return JPEG[:2] + b"".join(comments) + JPEG[2:]


def put(path, content, mtime_ns=LONG_AGO_NS):
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def photos(folder, count, size=2000, seed=0, name="IMG_{:05}.jpg"):
    for number in range(count):
        put(os.path.join(folder, name.format(number)), jpeg(f"{seed}-{number}", size), LONG_AGO_NS + number * 1_000_000_007)


def large_photos(folder, count, size, seed=0, name="A_{:03}.jpg"):
    """Sparse, so that they cost no disk: a picture, what tells it from others, and zeroes."""
    for number in range(count):
        path = put(os.path.join(folder, name.format(number)), jpeg(f"{seed}-{number}", 2000))
        os.truncate(path, size)
        os.utime(path, ns=(LONG_AGO_NS + number, LONG_AGO_NS + number))


def video(path, size, seed, mtime_ns=LONG_AGO_NS):
    """A sparse video: zeroes but for its head and a few bytes that no other has, in every 16 MiB."""
    filler = random.Random(f"video {seed}")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(FTYP)
        for offset in range(4096, size - 64, 16 * MIB):
            file.seek(offset)
            file.write(filler.randbytes(64))
        file.truncate(size)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


# --- comparing -------------------------------------------------------------------------------------------------------

def digest(path):
    state = hashlib.blake2b()
    with open(path, "rb") as file:
        while block := file.read(MIB):
            state.update(block)
    return state.digest()


def tree(folder, taken=lambda path: True):
    """Every regular file below a folder: its relative path as bytes, digest, length and time in nanoseconds."""
    folder, found = os.fsencode(folder), {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            status = os.lstat(path)
            if os.path.isfile(path) and not os.path.islink(path) and taken(os.path.relpath(path, folder)):
                found[os.path.relpath(path, folder)] = (digest(path), status.st_size, status.st_mtime_ns)
    return found


def difference(found, wanted):
    missing = sorted(set(wanted) - set(found))[:3]
    extra = sorted(set(found) - set(wanted))[:3]
    other = sorted(path for path in set(found) & set(wanted) if found[path] != wanted[path])[:3]
    return "" if found == wanted else f"missing {missing}, extra {extra}, different {other}"


def check_restored(out, source, what, taken=lambda path: True):
    """Whether OUT/<name of source> is the source, byte for byte and nanosecond for nanosecond."""
    wanted = tree(source, taken)
    found = tree(os.path.join(out, os.path.basename(source)))
    said = difference(found, wanted)
    return check(not said, f"{what}: {len(wanted)} files come back identical", said)


# --- the vault and the home at rest ----------------------------------------------------------------------------------

def rows(database, query, *arguments):
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
    try:
        return connection.execute(query, arguments).fetchall()
    finally:
        connection.close()


#: What must yield no row in a vault at rest.
FORBIDDEN = [
    ("SELECT object_key FROM upload WHERE state = 'open'", "an upload is open"),
    ("SELECT object_key FROM upload WHERE state = 'stored' AND file IS NULL", "an object is stored but no file has it"),
    ("SELECT object_key FROM garbage", "an object's files are still to be removed"),
    ("SELECT id FROM file WHERE is_deleted = 0 AND 2 <> (SELECT count(*) FROM upload WHERE upload.account = file.account"
     " AND upload.file = file.id AND state = 'stored' AND object_key IN (file_key, thumbnail_key))", "a file lacks an object"),
    ("SELECT object_key FROM upload WHERE state = 'stored' AND (part_count, size) IS NOT (SELECT count(*), sum(length)"
     " FROM part WHERE part.account = upload.account AND part.object_key = upload.object_key)", "an object lacks a part"),
    ("SELECT object_key FROM part WHERE (account, object_key) NOT IN (SELECT account, object_key FROM upload)",
     "a part has no upload"),
]


def audit_vault(vault, contents=None):
    """Everything that is wrong with a vault at rest; empty if it is as it must be."""
    wrong, database = [], os.path.join(vault, "server.db")
    for query, complaint in FORBIDDEN:
        wrong += [f"{complaint}: {row[0]}" for row in rows(database, query)]
    if rows(database, "PRAGMA integrity_check") != [("ok",)]:
        wrong.append("the database is damaged")
    live, tags = rows(database, "SELECT count(*), count(DISTINCT content_tag) FROM file WHERE is_deleted = 0")[0]
    if contents is not None and (live, tags) != (contents, contents):
        wrong.append(f"{live} files and {tags} tags for {contents} distinct contents")
    known = {f"{account}/{key[:2]}/{key}/{number}": length for account, key, number, length in
             rows(database, "SELECT account, object_key, number, length FROM part")}
    on_disk = {}
    blobs = os.path.join(vault, "blobs")
    for base, _, names in os.walk(blobs):
        for name in names:
            path = os.path.join(base, name)
            on_disk[os.path.relpath(path, blobs)] = os.path.getsize(path)
    wrong += [f"part without its file: {name}" for name in sorted(set(known) - set(on_disk))]
    wrong += [f"file without its row: {name}" for name in sorted(set(on_disk) - set(known))]
    wrong += [f"part of a wrong length: {name}" for name in known if on_disk.get(name, known[name]) != known[name]]
    for folder in ("incoming", "instances"):
        wrong += [f"left in {folder}: {name}" for name in os.listdir(os.path.join(vault, folder))]
    expected = {"server.db", "server.db-wal", "server.db-shm", "server.writer", "signing.key", "blobs", "incoming", "instances"}
    wrong += [f"left in the vault: {name}" for name in set(os.listdir(vault)) - expected]
    return wrong


def audit_home(home, tmp=None):
    """Everything that is wrong with a home whose queue is drained."""
    wrong, journal = [], os.path.join(home, "journal.db")
    if rows(journal, "PRAGMA integrity_check") != [("ok",)]:
        wrong.append("the journal is damaged")
    for state, count in rows(journal, "SELECT state, count(*) FROM item WHERE finished_at IS NULL GROUP BY state"):
        wrong.append(f"{count} items are {state}")
    for state, count in rows(journal, "SELECT state, count(*) FROM object WHERE state IN ('abandoning', 'opening', 'open',"
                             " 'completing') AND item IN (SELECT id FROM item WHERE finished_at IS NOT NULL) GROUP BY state"):
        wrong.append(f"{count} objects of finished items are {state}")
    wrong += [f"left in workers: {name}" for name in os.listdir(os.path.join(home, "workers"))]
    expected = {"journal.db", "journal.db-wal", "journal.db-shm", "journal.writer", "unlock.key", "config.toml", "workers",
                "set-aside.lock"}
    wrong += [f"left in the home: {name}" for name in set(os.listdir(home)) - expected if ".damaged-" not in name]
    if tmp:
        wrong += [f"left in the temporary folder: {name}" for name in os.listdir(tmp)]
    return wrong


def check_sound(world, contents, what, home=None, vault=None):
    wrong = audit_vault(vault or world.vault, contents) + audit_home(home or world.home, world.path("tmp"))
    return check(not wrong, f"{what}: one object per content ({contents}), no orphan, nothing left over", wrong[:5])


def distinct(*folders):
    return len({entry[0] for folder in folders for entry in tree(folder).values() if entry[1]})


# --- the proxy -------------------------------------------------------------------------------------------------------

class Exchange:
    """One request, as far as the proxy has seen it."""

    def __init__(self, method, target, length, started):
        self.method, self.target, self.length, self.started = method, target, length, started
        self.path = target.split("?")[0]
        self.received = 0      # bytes of the body that came from the client
        self.status = None     # once the answer's head has come from the server
        self.delivered = False  # once the whole answer has been handed to the client

    @property
    def part(self):
        """(object key, number) if it puts a part."""
        pieces = self.path.split("/")
        return (pieces[3], int(pieces[4])) if self.method == "PUT" and self.path.startswith("/blobs/") else None

    def __repr__(self):
        return f"<{self.method} {self.path} {self.received}/{self.length} {self.status} {self.delivered}>"


class Proxy:
    """A TCP proxy that reads HTTP/1.1 as it passes: counts bytes, and can answer, cut or hold on command.

    `script(exchange)` is asked for each request before it is passed on, and gives one of: None (pass on);
    ("answer", bytes) (say this instead); ("cut",) (close, pass nothing on); ("lose",) (pass on, and close instead of
    answering); ("truncate", n) (pass on, and close after n bytes of the answer).
    """

    def __init__(self, port, script=None, rate=None):
        self.upstream, self.script, self.rate = port, script, rate
        self.lock = threading.Condition()
        self.exchanges, self.connections = [], set()
        self.up = self.down = self.bodies = 0
        self.port = 0
        self.listen()
        self.url = f"http://127.0.0.1:{self.port}"

    def listen(self):
        """Takes connections; again, after the listener was closed."""
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.upstream), timeout=10)
        except OSError:
            # Nobody there: what the client would see without a proxy.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            return
        server.settimeout(None)
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (client, server)
        with self.lock:
            self.connections.add(pair)
        queue, ready = collections.deque(), threading.Condition()

        def guarded(work):
            try:
                work()
            except (OSError, ValueError, EOFError):
                pass
            finally:
                for side in pair:
                    try:
                        side.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
                with ready:
                    queue.append(None)
                    ready.notify_all()

        back = threading.Thread(target=guarded, args=(lambda: self._answers(client, server, queue, ready),), daemon=True)
        back.start()
        guarded(lambda: self._requests(client, server, queue, ready))
        back.join()
        client.close()
        server.close()
        with self.lock:
            self.connections.discard(pair)
            self.lock.notify_all()

    def _requests(self, client, server, queue, ready):
        stream = _Stream(client)
        while (head := stream.head()) is not None:
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
            headers = _headers(head)
            length = int(headers.get("content-length", 0))
            if "transfer-encoding" in headers:
                raise ValueError("a request with chunks")
            exchange = Exchange(method, target, length, time.monotonic())
            with self.lock:
                self.exchanges.append(exchange)
                self.up += len(head)
                self.lock.notify_all()
            order = self.script(exchange) if self.script else None
            if order and order[0] == "cut":
                return
            passes = not (order and order[0] == "answer")
            with ready:
                queue.append((exchange, order))
                ready.notify_all()
            if passes:
                server.sendall(head)
            left = length
            while left:
                block = stream.some(min(left, 256 << 10))
                left -= len(block)
                with self.lock:
                    exchange.received += len(block)
                    self.up += len(block)
                    if exchange.part:
                        self.bodies += len(block)
                if passes:
                    server.sendall(block)
                if self.rate:
                    time.sleep(len(block) / self.rate)
            if not passes:
                client.sendall(order[1])
                exchange.status, exchange.delivered = int(order[1].split(b" ", 2)[1]), True

    def _answers(self, client, server, queue, ready):
        stream = _Stream(server)
        while True:
            with ready:
                while not queue:
                    ready.wait()
                entry = queue.popleft()
            if entry is None:
                return
            exchange, order = entry
            if order and order[0] == "answer":
                continue
            head = stream.head()
            while head is not None and head.split(b" ", 2)[1].startswith(b"1"):
                client.sendall(head)
                head = stream.head()
            if head is None:
                return
            exchange.status = int(head.split(b" ", 2)[1])
            if order and order[0] == "lose":
                return
            headers = _headers(head)
            if order and order[0] == "truncate":
                keep = min(order[1], int(headers.get("content-length", order[1])))
                client.sendall(head)
                while keep:
                    block = stream.some(min(keep, 65536))
                    client.sendall(block)
                    keep -= len(block)
                return
            self._pass(client, head)
            if exchange.method != "HEAD" and exchange.status not in (204, 304):
                if headers.get("transfer-encoding", "").lower() == "chunked":
                    while True:
                        line = stream.line()
                        self._pass(client, line)
                        size = int(line.split(b";")[0], 16)
                        left = size + 2
                        while left:
                            block = stream.some(min(left, 256 << 10))
                            self._pass(client, block)
                            left -= len(block)
                        if size == 0:
                            break
                else:
                    left = int(headers.get("content-length", 0))
                    while left:
                        block = stream.some(min(left, 256 << 10))
                        self._pass(client, block)
                        left -= len(block)
            with self.lock:
                exchange.delivered = True
                self.lock.notify_all()
            if headers.get("connection", "").lower() == "close":
                return

    def _pass(self, client, block):
        client.sendall(block)
        with self.lock:
            self.down += len(block)

    def refuse(self):
        """Takes no more connections, as if nobody were there."""
        # Closing alone does not wake the thread that waits in `accept`.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def cut(self):
        """Ends all connections that are open now."""
        with self.lock:
            pairs = list(self.connections)
        for pair in pairs:
            for side in pair:
                try:
                    side.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def quiet(self, seconds=30.0):
        """Waits until no connection is open: whatever a dead client had sent has been seen."""
        until(lambda: not self.connections, "connections end", seconds, 0.002)

    def puts(self, since=0):
        with self.lock:
            return [exchange for exchange in self.exchanges[since:] if exchange.part]

    def wait_for(self, test, seconds=60.0, since=0):
        """Waits for a request and returns it."""
        deadline = time.monotonic() + seconds
        with self.lock:
            while True:
                for exchange in self.exchanges[since:]:
                    if test(exchange):
                        return exchange
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no such request within {seconds:.0f} s")
                self.lock.wait(min(left, 1.0))

    def close(self):
        self.refuse()
        self.cut()


class _Stream:
    def __init__(self, side):
        self.side, self.buffer = side, b""

    def _more(self):
        block = self.side.recv(256 << 10)
        if not block:
            raise EOFError
        self.buffer += block

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            block = self.side.recv(256 << 10)
            if not block:
                return None
            self.buffer += block
        at = self.buffer.index(b"\r\n\r\n") + 4
        head, self.buffer = self.buffer[:at], self.buffer[at:]
        return head

    def line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        at = self.buffer.index(b"\r\n") + 2
        line, self.buffer = self.buffer[:at], self.buffer[at:]
        return line

    def some(self, most):
        if not self.buffer:
            self._more()
        block, self.buffer = self.buffer[:most], self.buffer[most:]
        return block


def _headers(head):
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def answer(status, text, body=b"", **headers):
    """A whole HTTP answer, for a script."""
    lines = [f"HTTP/1.1 {status} {text}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
