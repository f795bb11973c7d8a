"""Sessions to a bucket: the page as it stands, and by command line whatever may happen to a session on its way there."""

import io
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import threading
import time
import zipfile

import s3_packages
import s3_servers
from counting_proxy import CountingProxy
from landfall import BIN, MIB, World, check, equal, figure, put, results, scenario, until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: The shortest parts that there are, so that little makes many.
PART = 5 * MIB
DAY = 24 * 3600
#: When recorded sessions were made, in seconds: longer ago than anything that is waited for.
LONG_AGO = 1_700_000_000


class Recorder(World):
    """A folder of sessions, which go to the destination `lab` below a prefix of their own."""

    def __init__(self, name, server, origin=None):
        super().__init__(f"sessions-{name}")
        self.env["LANDFALL_KEYRING"] = "off"
        self.server, self.prefix, self.recordings = server, f"{name}/", self.path("recordings")
        os.mkdir(self.recordings)
        self.run("destination", "add", "s3", "lab", "--bucket", server.bucket, "--region", server.region, "--endpoint",
                 origin or server.endpoint, "--path-style", "--prefix", self.prefix, "--part-size", "5M", "--access-key",
                 server.access_key, "--secret-file", self.secret(server.secret_key)).expect(0)
        self.run("sessions", "add", self.recordings, "--to", "lab").expect(0)

    def secret(self, text):
        return put(self.path("secret"), text.encode())

    def record(self, name, files=None, is_exported=True, made=LONG_AGO, state=None, **meta):
        """Makes a session, whose folder and files were last changed when it was made; returns its folder."""
        folder = os.path.join(self.recordings, name)
        for path, content in (files or session()).items():
            put(os.path.join(folder, path), content)
        about = {"sessionId": name, "createdAt": made * 1000, "endedAt": made * 1000 + 60_000, "actionCount": 2, **meta}
        put(os.path.join(folder, "session-meta.json"), json.dumps(about).encode())
        if state:
            put(os.path.join(folder, "upload-state.json"), json.dumps(state).encode())
        if is_exported:
            put(os.path.join(folder, ".exported"), b"")
        age(folder, made)
        return folder

    def listed(self, name):
        """What `sessions ls` says of a session."""
        return next(one for one in self.run("sessions", "ls", "--json").expect(0).json["sessions"] if one["id"] == name)

    def beside(self, name):
        """What `upload-state.json` says of it."""
        with open(os.path.join(self.recordings, name, "upload-state.json")) as file:
            return json.load(file)

    def statuses(self, name):
        return self.listed(name)["status"], self.beside(name)["status"]

    def key(self, name):
        return f"{self.prefix}{name}.zip"

    def archive(self, name):
        """The names and contents of its archive in the bucket; what cannot be read there raises."""
        body = self.server.client().get_object(Bucket=self.server.bucket, Key=self.key(name))["Body"].read()
        return contents_of(body)

    def incomplete(self):
        """Uploads below the prefix that are open."""
        found = self.server.client().list_multipart_uploads(Bucket=self.server.bucket, Prefix=self.prefix)
        return [upload["Key"] for upload in found.get("Uploads", ())]


def session(seed="session", video=12 * MIB):
    rng = random.Random(seed)
    return {"actions.json": json.dumps([{"at": at, "kind": "click", "by": str(seed)} for at in range(50)]).encode(),
            "screenshots/1.png": rng.randbytes(30_000), "video.webm": rng.randbytes(video)}


def contents_of(body):
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        damaged = archive.testzip()
        if damaged:
            raise AssertionError(f"`{damaged}` is damaged in the archive")
        return {name: archive.read(name) for name in archive.namelist()}


def on_disk(folder):
    """What an archive of a session is to hold: all of its files but marks and states."""
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            if not name.startswith(".") and name != "upload-state.json":
                with open(path, "rb") as file:
                    found[os.path.relpath(path, folder)] = file.read()
    return found


def age(folder, moment):
    """Has a folder and everything in it last changed at a moment, in seconds."""
    for base, folders, names in os.walk(folder, topdown=False):
        # A folder again after what is in it; a link to one is in neither walk of its own.
        for path in (*(os.path.join(base, name) for name in names + folders), base):
            os.utime(path, (moment, moment), follow_symlinks=False)


def same(found, wanted, what):
    """Compares contents by name, and says which differ."""
    other = sorted(name for name in set(found) | set(wanted) if found.get(name) != wanted.get(name))
    return check(not other, what, f"missing or different: {other[:5]} of {len(wanted)}")


def holds_from(number):
    """Has a proxy let the first parts of an upload through, and hold those from a number on."""
    return lambda request: ("stall", 1000) if request.operation == "UploadPart" and request.part_number >= number else None


def under_way(world, proxy, name, answered, *command):
    """Starts an upload whose first parts are answered and whose others stand still; returns the process and these parts."""
    before, proxy.script = proxy.count(), holds_from(answered + 1)
    running = world.start(*(command or ("sessions", "upload", name)), "--json-lines")

    def parts():
        if running.process.poll() is not None:
            raise AssertionError(f"the upload of {name} ended: {running.errors}")
        return [one.part for one in proxy.requests(before, "UploadPart") if one.delivered and one.status == 200]

    # What the process says is stored it has written down as well; an answer that came to it need not be.
    until(lambda: len(parts()) >= answered and running.count("stored") >= answered, f"{answered} parts of {name} are stored")
    proxy.wait_for(lambda one: one.operation == "UploadPart" and one.part_number > answered and one.received, since=before)
    return running, parts()


def page(server):
    """The commands of the page, as they stand there"""
    world = World("sessions-page")
    with open(os.path.join(ROOT, "docs", "sessions.md")) as file:
        text = file.read()
    blocks = {kind: re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) for kind in ("sh", "text", "json")}
    check(len(blocks["sh"]) >= 8, "page: it has its commands", len(blocks["sh"]))
    folder, bin = world.path("fresh"), world.path("bin")
    os.mkdir(folder)
    os.mkdir(bin)
    os.symlink(os.path.abspath(BIN), os.path.join(bin, "landfall"))
    env = {**world.env, "PATH": f"{bin}:{world.env['PATH']}", "LANDFALL_KEYRING": "off", "ENDPOINT": server.endpoint,
           "BUCKET": server.bucket, "KEY": server.access_key, "SECRET": server.secret_key}

    def shell(commands, env):
        put(world.path("page.sh"), ("set -euo pipefail\n" + "\n".join(commands)).encode())
        ended = subprocess.run(["bash", world.path("page.sh")], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                               capture_output=True, timeout=300)
        return ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace")

    code, out, err = shell(blocks["sh"], env)
    if not check(code == 0, "page: every command ends well", f"{code}\n{out[-3000:]}\n{err[-3000:]}"):
        return
    verdicts = re.findall(r"^(ok|warn|fail|-) ", out, re.MULTILINE)
    equal(verdicts, ["ok"] * 9, "page: the destination passes all nine questions")
    equal(out.count("ended with 5"), 2, "page: what is only queued ends with 5")
    check(not os.path.exists(os.path.join(folder, "secret")), "page: the file with the secret is gone")
    mode = os.stat(os.path.join(world.home, "credentials.json")).st_mode & 0o777
    equal(mode, 0o600, "page: only their owner reads the secrets in the home")
    with open(os.path.join(world.home, "config.toml")) as config:
        check(server.secret_key not in config.read() + out + err, "page: the secret is neither shown nor configured")
    client = server.client()
    for name in ("monday", "tuesday"):
        body = client.get_object(Bucket=server.bucket, Key=f"sessions/{name}.zip")
        same(contents_of(body["Body"].read()), on_disk(os.path.join(folder, "recordings", name)),
             f"page: the bucket has {name} as it was recorded")
        check(body["Metadata"].get("landfall-id"), "page: and its object has a tag", body["Metadata"])
    equal(server.keys_of(), ["sessions/monday.zip", "sessions/tuesday.zip"], "page: nothing else is in the bucket")
    with open(os.path.join(folder, "recordings", "wednesday", "upload-state.json")) as state:
        equal(json.load(state)["status"], "not_uploaded", "page: what was taken back is not uploaded")
    with open(os.path.join(folder, "recordings", "monday", "upload-state.json")) as state:
        named = set(re.findall(r"`([a-zA-Z0-9]+)`", text.partition("| field |")[2].partition("## ")[0]))
        equal(sorted(set(json.load(state)) - named), [], "page: it names every field of a state")
    # What is said of Amazon cannot be run here; that the commands take it can be.
    put(os.path.join(folder, "secret"), b"secret")
    code, _, err = shell(blocks["text"], {**env, "LANDFALL_HOME": world.path("amazon")})
    equal(code, 0, f"page: the example for Amazon is taken {err if code else ''}".strip())
    policy, lifecycle = map(json.loads, blocks["json"])
    actions = sorted(action for statement in policy["Statement"] for action in statement["Action"])
    equal(len(actions), 7, "page: the policy is JSON, and names seven actions")
    answer = client.put_bucket_lifecycle_configuration(Bucket=server.bucket, LifecycleConfiguration=lifecycle)
    equal(answer["ResponseMetadata"]["HTTPStatusCode"], 200, "page: a server takes the lifecycle rule")
    client.delete_bucket_lifecycle(Bucket=server.bucket)


def refused_keys(server):
    """Wrong keys fail an upload at once; mended and tried again, it goes"""
    with CountingProxy(server) as proxy:
        world = Recorder("refused", server, proxy.origin)
        world.run("destination", "test", "lab").expect(0)
        folder = world.record("one")
        world.run("destination", "add", "s3", "lab", "--replace", "--secret-file", world.secret("wrong")).expect(0)
        tested = world.run("destination", "test", "lab", "--json")
        equal(tested.code, 4, "refused: a test of wrong keys ends with 4")
        said = next(one for one in tested.json["checks"] if one["verdict"] == "fail")
        check("secret" in said["message"] and "destination add s3 lab --replace" in said["remedy"],
              "refused: and says what is wrong and what to do", said)
        before = proxy.count()
        failed = world.run("sessions", "upload", "one", "--json")
        equal(failed.code, 3, "refused: the upload fails")
        check(failed.took < 5 and proxy.count() - before <= 3, "refused: at once, and is not tried again",
              f"{failed.took:.1f} s, {proxy.requests(before)}")
        equal(world.statuses("one"), ("failed", "failed"), "refused: it is failed, in the list and beside it")
        for where, reason, tries in (("list", world.listed("one")["last_error"], world.listed("one")["attempts"]),
                                     ("state", world.beside("one")["lastError"], world.beside("one")["retryCount"])):
            check(reason and "credentials" in reason or "secret" in reason, f"refused: the {where} says why", reason)
            equal(tries, 0, f"refused: no try was counted in the {where}")
        equal(failed.json["problems"][0]["code"], said["code"], "refused: the upload names the cause that the test names")
        again = world.run("sessions", "upload", "one")
        check(again.code == 2 and b"sessions retry one" in again.err, "refused: it says that `retry` is next", again.err)
        world.run("destination", "add", "s3", "lab", "--replace", "--secret-file", world.secret(server.secret_key)).expect(0)
        world.run("sessions", "retry", "one").expect(0)
        equal(world.statuses("one"), ("done", "done"), "refused: mended and tried again, it is done")
        same(world.archive("one"), on_disk(folder), "refused: and the bucket has it")


def tried_again(server):
    """What may pass is tried again, and as often as is configured"""
    with CountingProxy(server) as proxy:
        world = Recorder("again", server, proxy.origin)
        world.run("destination", "add", "s3", "lab", "--replace", "--max-retries", "1").expect(0)
        folder = world.record("one", session("again", 100_000))
        failing = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
        proxy.script = lambda request: ("answer", failing) if request.key == world.key("one") else None
        equal(world.run("sessions", "upload", "one").code, 3, "again: a bucket that always fails fails the upload")
        listed, beside = world.listed("one"), world.beside("one")
        equal((listed["status"], listed["attempts"]), ("failed", 1), "again: after as many retries as are configured")
        equal((beside["status"], beside["retryCount"], beside["maxRetries"]), ("failed", 1, 1), "again: and its state says so")
        check("500" in listed["last_error"], "again: with the last error", listed["last_error"])
        proxy.script = None
        world.run("sessions", "retry", "one").expect(0)
        equal(world.statuses("one"), ("done", "done"), "again: tried again it is done")
        same(world.archive("one"), on_disk(folder), "again: and the bucket has it")


def forbidden_keys(server):
    """A bucket that does not tell these keys what it has"""
    # Amazon's answers about a key that is not there, to somebody who may not list.
    def script(request):
        denied = b"<Error><Code>AccessDenied</Code></Error>" if request.operation == "ListObjects" else b""
        answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(denied) + denied
        is_there = request.operation == "HeadObject" and request.key in server.keys_of()
        return ("answer", answer) if request.operation in ("HeadObject", "ListObjects") and not is_there else None

    with CountingProxy(server, script) as proxy:
        world = Recorder("forbidden", server, proxy.origin)
        folder = world.record("one")
        world.run("sessions", "upload", "one").expect(0)
        equal(world.statuses("one"), ("done", "done"), "forbidden: without the right to list it is uploaded all the same")
        same(world.archive("one"), on_disk(folder), "forbidden: and the bucket has it")


def taken_back(server):
    """Cancelled in the middle: nothing is left, and it can be uploaded again"""
    with CountingProxy(server) as proxy:
        world = Recorder("cancelled", server, proxy.origin)
        folder = world.record("one", session("cancelled", 22 * MIB))
        running, _ = under_way(world, proxy, "one", 1)
        equal(world.listed("one")["status"], "uploading", "cancelled: while it is sent it is uploading")
        until(lambda: world.beside("one")["status"] == "uploading", "the state beside it follows", 5)
        equal(world.incomplete(), [world.key("one")], "cancelled: an upload is open")
        cancelled = world.run("sessions", "cancel", "one", "--json").expect(0)
        equal(cancelled.json["cancelled"], ["one"], "cancelled: it is taken back while another process sends it")
        proxy.script = None
        proxy.cut()
        figure(f"cancelled: the process that sent it ends with {running.wait(60)}")
        equal(world.statuses("one"), ("not_uploaded", "not_uploaded"), "cancelled: it is not uploaded")
        equal(world.incomplete(), [], "cancelled: no upload is left open")
        equal(world.listed("one")["percent"], 0, "cancelled: nothing of it counts")
        world.run("sessions", "upload", "one").expect(0)
        equal(world.statuses("one"), ("done", "done"), "cancelled: uploaded again it is done")
        same(world.archive("one"), on_disk(folder), "cancelled: and the bucket has it")
        # Taken back after a kill, by nobody who had sent it.
        world.record("two", session("cancelled two", 22 * MIB))
        under_way(world, proxy, "two", 1)[0].kill()
        proxy.script = None
        proxy.cut()
        world.run("sessions", "cancel", "two").expect(0)
        equal((world.listed("two")["status"], world.incomplete()), ("not_uploaded", []), "cancelled: also after a kill")
        # Taken back while nobody answers: the next run removes what was sent.
        world.record("three", session("cancelled three", 22 * MIB))
        under_way(world, proxy, "three", 1)[0].kill()
        proxy.script = None
        proxy.refuse()
        proxy.cut()
        world.run("sessions", "cancel", "three").expect(0)
        equal(world.listed("three")["status"], "not_uploaded", "cancelled: without a network it is taken back as well")
        equal(world.incomplete(), [world.key("three")], "cancelled: what was sent of it is still there")
        proxy.listen()
        world.run("run").expect(0)
        equal(world.incomplete(), [], "cancelled: until a run removes it")
        # Taken back in the very moment in which the upload is opened.
        world.record("four", session("cancelled four", 12 * MIB))
        may_open, before = threading.Event(), proxy.count()

        def hold(request):
            if request.operation == "CreateMultipartUpload":
                may_open.wait(60)

        proxy.script = hold
        running = world.start("sessions", "upload", "four", "--json-lines")
        proxy.wait_for(lambda one: one.operation == "CreateMultipartUpload", since=before)
        world.run("sessions", "cancel", "four").expect(0)
        may_open.set()
        running.wait(60)
        proxy.script = None
        world.run("run").expect(0)
        equal(world.incomplete(), [], "cancelled: also while it is opened, nothing of it is left after a run")
        over = world.run("sessions", "cancel", "one", "--json").expect(0)
        equal((over.json["cancelled"], world.listed("one")["status"]), ([], "done"), "cancelled: what is done stays")


def killed(server):
    """Killed in the middle: a run sends the rest and nothing twice"""
    with CountingProxy(server) as proxy:
        world = Recorder("killed", server, proxy.origin)
        folder = world.record("one", session("killed", 32 * MIB))
        running, answered = under_way(world, proxy, "one", 3)
        check(running.kill(), "killed: the upload is killed in the middle")
        proxy.cut()
        proxy.script = None
        equal(world.listed("one")["status"], "pending", "killed: it is pending while nobody sends it")
        before = proxy.count()
        world.run("run").expect(0)
        equal(world.statuses("one"), ("done", "done"), "killed: a run goes on until it is done")
        sent = [one.part for one in proxy.requests(before, "UploadPart")]
        equal(sorted(set(sent) & set(answered)), [], "killed: no part that was answered is sent again")
        equal(len(sent), 7 - len(answered), "killed: and the others are sent once")
        same(world.archive("one"), on_disk(folder), "killed: the bucket has it")
        equal(world.incomplete(), [], "killed: no upload is left open")
        # Nobody there: it stays in charge, and no try is counted.
        proxy.refuse()
        world.record("two")
        away = world.run("sessions", "upload", "two", "--patience", "0s")
        equal((away.code, world.statuses("two")), (5, ("pending", "pending")), "killed: without a network it stays in charge")
        equal(world.listed("two")["attempts"], 0, "killed: which costs no try")
        proxy.listen()
        world.run("run").expect(0)
        equal(world.statuses("two"), ("done", "done"), "killed: and goes when it is back")


def unanswered(server):
    """Answers that are lost: what is there is known again"""
    with CountingProxy(server) as proxy:
        world = Recorder("unanswered", server, proxy.origin)
        for name, operation, video in (("put", "PutObject", 100_000), ("open", "CreateMultipartUpload", 12 * MIB),
                                       ("part", "UploadPart", 12 * MIB), ("complete", "CompleteMultipartUpload", 12 * MIB)):
            folder, before, lost = world.record(name, session(name, video)), proxy.count(), []

            def script(request):
                if request.operation == operation and request.key == world.key(name) and not lost:
                    lost.append(request.number)
                    return ("lose",)
                return None

            proxy.script = script
            world.run("sessions", "upload", name).expect(0)
            equal((len(lost), world.statuses(name)), (1, ("done", "done")), f"unanswered ({name}): it is done all the same")
            sent = [(one.operation, one.part_number) for one in proxy.requests(before)
                    if one.operation in ("PutObject", "UploadPart") and one.key == world.key(name)]
            # This server lists parts without their checksums, so that one without an answer cannot be told from another's.
            twice = 1 if name == "part" else 0
            equal(len(sent) - len(set(sent)), twice, f"unanswered ({name}): nothing that can be known is sent twice")
            same(world.archive(name), on_disk(folder), f"unanswered ({name}): the bucket has it")
        equal(world.incomplete(), [], "unanswered: no upload is left open")


def together(server):
    """Several processes at one home: each part is sent once"""
    with CountingProxy(server) as proxy:
        world = Recorder("together", server, proxy.origin)
        names = [f"number {number}" for number in range(6)]
        for name in names:
            world.record(name, session(name, 6 * MIB))
        world.run("sessions", "upload", *names, "--queue").expect(5)
        before = proxy.count()
        for running in [world.start("run", "--json-lines") for _ in range(4)]:
            running.expect(0, 5)
        equal({world.listed(name)["status"] for name in names}, {"done"}, "together: all are done")
        parts = [one.part for one in proxy.requests(before, "UploadPart")]
        equal((len(parts), len(set(parts))), (12, 12), "together: each part is sent once")
        opened = proxy.requests(before, "CreateMultipartUpload")
        equal(len(opened), 6, "together: and each upload is opened once")


def changed(server):
    """What changes between two runs arrives as it was at one moment"""
    with CountingProxy(server) as proxy:
        world = Recorder("changed", server, proxy.origin)
        for name, other in (("text", ["actions.json"]), ("both", ["actions.json", "video.webm"]), ("new", [])):
            first, second = session(f"{name} 1", 16 * MIB), session(f"{name} 2", 16 * MIB)
            folder = world.record(name, first)
            versions = [on_disk(folder)]
            running, _ = under_way(world, proxy, name, 2)
            running.kill()
            proxy.cut()
            proxy.script = None
            for path in other:
                put(os.path.join(folder, path), second[path], (LONG_AGO + 60) * 10**9)
            if name == "new":
                os.remove(os.path.join(folder, "screenshots/1.png"))
                put(os.path.join(folder, "screenshots/2.png"), second["screenshots/1.png"])
            versions.append(on_disk(folder))
            world.run("run").expect(0)
            found = world.archive(name)
            check(found in versions, f"changed ({name}): the archive is of one version",
                  [[path for path in version if found.get(path) != version[path]] for version in versions])
            figure(f"changed ({name}): it is of the {'first' if found == versions[0] else 'second'}")
        # Changed in the middle of packing, after its text was read and before its picture is.
        folder = world.record("packed", {"a.json": b"version 1", "z.png": b"version 1", "video.webm": b""})
        os.truncate(os.path.join(folder, "video.webm"), 96 * MIB)
        age(folder, LONG_AGO)
        running, bundles = world.start("sessions", "upload", "packed", "--json-lines"), world.path("home", "spool", "bundles")
        until(lambda: os.path.isdir(bundles) and any(os.path.getsize(os.path.join(bundles, name)) for name in os.listdir(bundles)),
              "its text is packed", pause=0.001)
        for name in ("a.json", "z.png"):
            os.rename(put(world.path("new"), b"version 2"), os.path.join(folder, name))
        running.expect(0)
        found = world.archive("packed")
        equal(found["a.json"], found["z.png"], "changed (packed): what changes while it is packed is of one version")
        # The recorder's own archive, replaced by another of the same length.
        first, second = (b"PK\3\4" + random.Random(f"zip {number}").randbytes(16 * MIB) for number in (1, 2))
        folder = world.record("zip", {"out/session.zip": first}, zipPath="out/session.zip")
        running, _ = under_way(world, proxy, "zip", 2)
        running.kill()
        proxy.cut()
        proxy.script = None
        put(os.path.join(folder, "out/session.zip"), second, (LONG_AGO + 60) * 10**9)
        world.run("run").expect(0)
        body = server.client().get_object(Bucket=server.bucket, Key=world.key("zip"))["Body"].read()
        check(body == second, "changed (zip): a replaced archive is sent from its start")
        equal(world.incomplete(), [], "changed: no upload is left open")


def taken_over(server):
    """States that another program left are read once"""
    with CountingProxy(server) as proxy:
        world = Recorder("taken", server, proxy.origin)

        def state(name, status, **more):
            return {"sessionId": name, "status": status, "s3Key": f"elsewhere/{name}.zip", "bytesUploaded": 7, "totalBytes": 9,
                    "retryCount": 0, "maxRetries": 10, "createdAt": 1, "updatedAt": 2, **more}

        folders = {name: world.record(name, session(name, 100_000), state=state(name, status, **more)) for name, status, more in (
            ("pending", "pending", {}), ("uploading", "uploading", {}), ("failing", "failed", {"retryCount": 9}),
            ("failed", "failed", {"retryCount": 10, "lastError": "no network"}), ("done", "done", {"completedAt": 5}),
            ("idle", "not_uploaded", {}))}
        found = {name: world.listed(name)["status"] for name in folders}
        equal(found, {"pending": "pending", "uploading": "pending", "failing": "pending", "failed": "failed", "done": "done",
                      "idle": "not_uploaded"}, "taken over: what was under way is queued, what is over stays so")
        check("no network" in (world.listed("failed")["last_error"] or ""), "taken over: why it had failed is known")
        ended = world.run("run")
        equal(ended.code, 3, "taken over: a run tells of the one that failed")
        equal({name: world.beside(name)["status"] for name in folders},
              {"pending": "done", "uploading": "done", "failing": "done", "failed": "failed", "done": "done",
               "idle": "not_uploaded"}, "taken over: a run uploads what was queued")
        stored = sorted({one.key for one in proxy.requests(operation="PutObject") if one.key.endswith(".zip")})
        equal(stored, [world.key(name) for name in ("failing", "pending", "uploading")], "taken over: and nothing else is sent")
        world.run("sessions", "retry", "failed").expect(0)
        equal(world.statuses("failed"), ("done", "done"), "taken over: tried again, the one that had failed is done")
        refused = world.run("sessions", "upload", "done")
        equal(refused.code, 2, "taken over: what was done before is not uploaded again")
        for name in ("pending", "failed"):
            same(world.archive(name), on_disk(folders[name]), f"taken over: the bucket has {name}")
        # Recorders write `null` for what they do not know.
        folder = world.record("nothing known", {"out/session.zip": b"PK\5\6 the recorder's own"}, zipPath="out/session.zip",
                              screenshotCount=None, videoRef=None)
        equal(world.listed("nothing known")["zip"], "out/session.zip", "taken over: what is null is not known, and the rest counts")
        # From now on the journal is the truth.
        put(os.path.join(folders["idle"], "upload-state.json"), json.dumps(state("idle", "pending")).encode())
        equal(world.listed("idle")["status"], "not_uploaded", "taken over: what is written there later is not read")


def cleaned(server):
    """Only what nobody wants is removed"""
    world = Recorder("cleaned", server)
    now, tiny = int(time.time()), {"actions.json": b"[]"}
    old, young = now - 2 * DAY, now - 3600
    unfinished = {"is_exported": False, "made": old}

    def asked(name, status):
        return {"sessionId": name, "status": status, "s3Key": f"x/{name}.zip", "bytesUploaded": 0, "totalBytes": 2, "retryCount":
                10 if status == "failed" else 0, "maxRetries": 10, "createdAt": 1, "updatedAt": 2}

    world.record("orphan", tiny, **unfinished)
    world.record("orphan without actions", {"video.webm": b"half"}, **unfinished)
    world.record("young", tiny, is_exported=False, made=young)
    world.record("exported", tiny, made=old)
    world.record("exported and uploaded", tiny, made=old)
    late = world.record("still written", tiny, **unfinished)
    os.utime(put(os.path.join(late, "screenshots", "9.png"), b"late"), (young, young))
    for path in (os.path.join(late, "screenshots"), late):
        os.utime(path, (old, old))
    age(world.record("said to be young", tiny, is_exported=False, made=young), old)
    for status in ("pending", "uploading", "failed", "done"):
        world.record(f"{status} before", tiny, state=asked(f"{status} before", status), **unfinished)
    outside = put(world.path("outside", "kept.txt"), b"kept")
    os.symlink(os.path.dirname(outside), os.path.join(world.recordings, "orphan", "link"))
    age(os.path.join(world.recordings, "orphan"), old)
    put(os.path.join(world.recordings, "no session.txt"), b"a file", old * 10**9)
    world.run("sessions", "upload", "exported and uploaded").expect(0)
    # The recorder takes its mark back from one that is uploaded.
    os.remove(os.path.join(world.recordings, "exported and uploaded", ".exported"))
    for name in ("exported and uploaded", *(f"{status} before" for status in ("pending", "uploading", "failed", "done"))):
        # States are written beside sessions, which changes folders.
        age(os.path.join(world.recordings, name), old)
    there, orphans = set(os.listdir(world.recordings)), {"orphan", "orphan without actions"}
    tried = world.run("sessions", "clean", "--dry-run", "--json").expect(0)
    equal({one["id"] for one in tried.json["removed"]}, orphans, "cleaned: a dry run names what nobody wants")
    equal(set(os.listdir(world.recordings)), there, "cleaned: and removes nothing")
    done = world.run("sessions", "clean", "--json").expect(0)
    equal({one["id"] for one in done.json["removed"]}, orphans, "cleaned: exactly these are removed")
    equal(there - set(os.listdir(world.recordings)), orphans, "cleaned: and all others are there")
    check(os.path.exists(outside), "cleaned: what a link leads to stays")
    equal([name for name in os.listdir(world.recordings) if name.startswith(".")], [], "cleaned: nothing is left over")


def refusals(server):
    """What is missing is named"""
    world = World("sessions-nothing")
    world.env["LANDFALL_KEYRING"] = "off"
    os.mkdir(world.path("recordings"))
    for command, wanted in ((("add", world.path("recordings")), b"no destination is configured"),
                            (("add", world.path("recordings"), "--to", "lab"), b"no destination `lab`"),
                            (("upload", "one"), b"sessions add DIR --to NAME")):
        ended = world.run("sessions", *command)
        check(ended.code == 2 and wanted in ended.err, f"refusals: `{command[0]}` without a destination says what is missing",
              f"{ended.code} {ended.err.decode()}")
    world = Recorder("refusals", server)
    world.record("half", is_exported=False)
    world.record("gone", {"actions.json": b"[]"}, zipPath="out/session.zip")
    world.record("whole", {"actions.json": b"[]"})
    for name, wanted in (("nobody", "no session `nobody`"), ("half", ".exported"), ("gone", "out/session.zip")):
        ended = world.run("sessions", "upload", name)
        said = ended.err.decode()
        check(ended.code == 2 and wanted in said and "hint:" in said, f"refusals: {name}: `{wanted}` is named", f"{ended.code} {said}")
    equal(world.run("sessions", "upload", "whole", "half").code, 2, "refusals: one of two is refused")
    equal(world.listed("whole")["status"], "not_uploaded", "refusals: then nothing is taken in charge")
    equal(world.run("sessions", "retry", "whole").code, 2, "refusals: what has not failed is not tried again")
    # What goes away in the meantime.
    lost = world.record("lost", {"actions.json": b"[]"})
    world.run("sessions", "upload", "lost", "--queue").expect(5)
    shutil.rmtree(lost)
    ended = world.run("run")
    check(ended.code == 3 and b"lost" in ended.err, "refusals: a session that went away is named", f"{ended.code} {ended.err}")
    # A folder that is away, as one on another disk may be, keeps none of the others.
    os.mkdir(world.path("elsewhere"))
    world.run("sessions", "add", world.path("elsewhere"), "--to", "lab").expect(0)
    os.rmdir(world.path("elsewhere"))
    equal(world.run("sessions", "ls").code, 0, "refusals: a folder that is away keeps none of the others from being listed")


def swept(server):
    """Uploads that a lost home has left are found and aborted"""
    world, client = Recorder("swept", server), server.client()
    world.record("queued", session("swept", 100_000))
    world.run("sessions", "upload", "queued", "--queue").expect(5)
    for key in (f"{world.prefix}left.zip", "beside/left.zip"):
        upload = client.create_multipart_upload(Bucket=server.bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=server.bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"part")
    left = [f"{world.prefix}left.zip"]
    equal(world.run("gc", "--json").expect(0).json["aborted"], [], "swept: what is younger than a day stays")
    found = until(lambda: world.run("gc", "--older-than", "1s", "--dry-run", "--json").expect(0).json["aborted"],
                  "an upload is a second old", 10, 0.2)
    equal([(one["key"], one["bytes"]) for one in found], [(left[0], 4)], "swept: what a home has left is found, and what it holds")
    equal(world.incomplete(), left, "swept: looking aborts nothing")
    world.run("gc", "--older-than", "1s").expect(0)
    equal(world.incomplete(), [], "swept: then it is aborted")
    others = client.list_multipart_uploads(Bucket=server.bucket, Prefix="beside/")["Uploads"]
    equal(len(others), 1, "swept: what is not below the prefix stays")
    client.abort_multipart_upload(Bucket=server.bucket, Key=others[0]["Key"], UploadId=others[0]["UploadId"])


def secrets_elsewhere(server):
    """Secrets that others keep"""
    place = ("--bucket", server.bucket, "--region", server.region, "--endpoint", server.endpoint, "--path-style")
    world = World("sessions-secrets")
    world.env["LANDFALL_KEYRING"] = "off"
    world.run("destination", "add", "s3", "named", *place).expect(0)
    equal(world.run("destination", "test", "named").code, 4, "secrets: without any it ends with 4")
    variables = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    equal(world.run("destination", "test", "named", env=variables).code, 0, "secrets: those of the environment count")
    put(world.path("nobody", ".aws", "credentials"), f"[default]\naws_access_key_id = A\naws_secret_access_key = B\n[lab]\n"
        f"aws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n".encode())
    equal(world.run("destination", "test", "named").code, 4, "secrets: so do those of a profile, which are wrong here")
    equal(world.run("destination", "test", "named", env={"AWS_PROFILE": "lab"}).code, 0, "secrets: and the one that is named")
    world.run("destination", "add", "s3", "named", "--replace", "--profile", "lab").expect(0)
    equal(world.run("destination", "test", "named").code, 0, "secrets: also if it is configured")
    wrong = put(world.path("wrong"), b"wrong")
    world.run("destination", "add", "s3", "handed", *place, "--access-key", server.access_key, "--secret-file", wrong).expect(0)
    handed = {"CREDENTIALS_DIRECTORY": world.path("handed")}
    put(world.path("handed", "landfall-handed-secret"), server.secret_key.encode())
    equal(world.run("destination", "test", "handed").code, 4, "secrets: a wrong one that is kept is refused")
    equal(world.run("destination", "test", "handed", env=handed).code, 0, "secrets: one that a service is handed counts more")


def slowed(server):
    """A limit is kept"""
    world = Recorder("slowed", server)
    world.record("one", session("slowed", 4 * MIB))
    took = world.run("sessions", "upload", "one", "--bwlimit", "2M").expect(0).took
    check(took > 1.4, "slowed: four MiB at two a second take their time", f"{took:.1f} s")
    figure(f"slowed: 4 MiB at 2 MiB/s in {took:.1f} s")
    refused = world.run("sessions", "upload", "one", "--bwlimit", "2000")
    equal(refused.code, 2, "slowed: a limit without a unit is refused")


def example(server):
    """The example records a session, and its upload survives a kill"""
    recorder = os.environ["LANDFALL_RECORDER"]
    with CountingProxy(server) as proxy:
        folder = tempfile.mkdtemp(prefix="landfall-recorder-")
        env = {**os.environ, "S3_ENDPOINT": proxy.origin, "S3_BUCKET": server.bucket, "S3_REGION": server.region,
               "AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        proxy.script = holds_from(2)
        first = subprocess.Popen([recorder, folder], env=env, stdout=subprocess.PIPE, text=True)
        proxy.wait_for(lambda one: one.operation == "UploadPart" and one.part_number == 1 and one.delivered)
        first.kill()
        first.wait()
        proxy.cut()
        proxy.script = None
        again = subprocess.run([recorder, folder], env=env, capture_output=True, text=True, timeout=60)
        equal(again.returncode, 0, "example: started again it comes to its end")
        check("session-0 done recorder/session-0.zip" in again.stdout, "example: and says so", again.stdout)
        body = server.client().get_object(Bucket=server.bucket, Key="recorder/session-0.zip")["Body"].read()
        names = zipfile.ZipFile(io.BytesIO(body)).namelist()
        check("video/screen.webm" in names and "actions.json" in names, "example: the session is in the bucket", names)
        shutil.rmtree(folder, ignore_errors=True)


def many_files(server):
    """Thousands of files, with names of all kinds"""
    world = Recorder("many", server)
    kinds = ("Größe {}.png", "скриншот {}.png", "屏幕截图{}.png", "🎬 {}.json", "e\u0301 {}.txt", "a'b\"c {}.log", "-rf {}.png")
    rng, files = random.Random("many"), {"video.webm": b"", "empty.json": b""}
    for number in range(3000):
        name = kinds[number % len(kinds)].format(number)
        files[f"folder {number % 7}/ü/{name}"] = rng.randbytes(rng.randrange(400))
    folder = world.record("one", files)
    took = world.run("sessions", "upload", "one").expect(0).took
    body = server.client().get_object(Bucket=server.bucket, Key=world.key("one"))["Body"].read()
    same(contents_of(body), on_disk(folder), f"many: {len(files)} files are in the archive as they were recorded")
    figure(f"many: {len(files)} files in {took:.1f} s, {len(body)} bytes")
    if shutil.which("unzip"):
        tested = subprocess.run(["unzip", "-tq", put(world.path("one.zip"), body)], capture_output=True)
        equal(tested.returncode, 0, "many: unzip finds no fault in it")
    equal(os.listdir(world.path("home", "spool", "bundles")), [], "many: no deflated copy is left")
    # Who unpacks it elsewhere would find another name.
    world.record("two", {"back\\slash.txt": b"text"})
    refused = world.run("sessions", "upload", "two")
    check(refused.code == 3 and b"slash.txt" in refused.err, "many: a name that no archive can have is named", refused.err)


if __name__ == "__main__":
    s3_packages.python_packages()
    wanted = os.environ.get("LANDFALL_ONLY", "").split()
    with s3_servers.start("seaweedfs") as server:
        for one in (page, refused_keys, tried_again, forbidden_keys, taken_back, killed, unanswered, together, changed,
                    taken_over, cleaned, refusals, swept, secrets_elsewhere, slowed, example, many_files):
            if not wanted or one.__name__ in wanted:
                scenario(one, server)
    results.close()
