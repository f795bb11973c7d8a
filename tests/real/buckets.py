"""Uploads to real S3 servers: what arrives, what survives, what is refused, and what is never said.

Each server is a process of its own, and all run at once. LANDFALL_ONLY names servers, scenarios or both, such as
`ceph lost_answers`; LANDFALL_SEED replays the same random choices.
"""

import base64
import os
import signal
import subprocess
import sys
import threading
import time
import unicodedata
import urllib.request

import bucket_kills
import bucket_trials
import s3_packages
import s3_servers
from bucket_world import PART, BucketWorld, noise, read
from landfall import BIN, LONG_AGO_NS, MIB, check, figure, put, results, scenario, section, until


def contents(server):
    """What is put is there, byte for byte, whatever its length; and comes back"""
    world = BucketWorld(server, "contents")
    for size in (0, 1, PART, 33 * MIB):
        world.file(size, f"{size}.bin")
    world.put(world.source).expect(0)
    objects = {f"Pictures/{name}": read(os.path.join(world.source, name)) for name in os.listdir(world.source)}
    world.check_holds(objects, "contents")
    listed = world.run("ls", "--from", "media").expect(0).json["items"]
    world.equal({item["key"]: item["size"] for item in listed}, {key: len(body) for key, body in objects.items()},
                "contents: `ls` lists them")
    got = world.run("get", *objects, "--from", "media", "--out", world.path("out")).expect(0).json["files"]
    world.check(all(read(world.path("out", key)) == body for key, body in objects.items()), "contents: `get` fetches them")
    world.equal({file["is_proved"] for file in got}, {server.traits.checks_checksums}, "contents: by checksums, if there are any")
    for key, body in objects.items():
        head = world.head(key)
        if server.traits.checks_checksums:
            world.equal(head.get("ChecksumCRC64NVME"), crc64nvme(body), f"contents: {key} has its CRC64NVME")
        world.check(len(head["Metadata"].get("landfall-id", "")) == 32, f"contents: {key} has a tag", head["Metadata"])


def crc64nvme(body):
    from awscrt import checksums
    return base64.b64encode(checksums.crc64nvme(body).to_bytes(8, "big")).decode()


def sealed(server):
    """What is sealed on its way opens with the password and libsodium alone, and comes back opened"""
    world = BucketWorld(server, "sealed")
    world.env["LANDFALL_PASSWORD"] = "a password for a test"
    sizes = (0, 1, 8 * MIB, 21 * MIB + 5)
    for size in sizes:
        world.file(size, f"{size}.bin")
    world.put(world.source, "--seal").expect(0)
    keys = put(world.path("keys.json"), world.object(".landfall/keys.json"))
    python = os.path.join(s3_packages.python_packages(), "bin", "python")
    reader = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers", "read_sealed.py")
    for size in sizes:
        plain, body = read(os.path.join(world.source, f"{size}.bin")), world.object(f"Pictures/{size}.bin")
        world.check(len(body) == 120 + size + 17 * max(1, -(-size // (4 * MIB))), f"sealed: {size} bytes are as many as the format says")
        world.check(size < 64 or plain[:64] not in body, f"sealed: {size} bytes are not there in plain")
        opened = world.path(f"{size}.opened")
        result = subprocess.run([python, reader, keys, put(world.path(f"{size}.sealed"), body), opened], env=world.env,
                                capture_output=True, text=True)
        world.check(result.returncode == 0 and read(opened) == plain, f"sealed: {size} bytes open with libsodium", result.stderr)
    names = [f"Pictures/{size}.bin" for size in sizes]
    world.run("get", *names, "--from", "media", "--out", world.path("out")).expect(0)
    world.check(all(read(world.path("out", name)) == read(os.path.join(world.source, os.path.basename(name))) for name in names),
                "sealed: `get` opens them")
    before = {name: world.object(name) for name in names}
    world.file(1000, "new.bin")
    again = world.put(world.source, "--seal").expect(0).json
    world.equal((again["uploaded"], again["there_already"]), (1, len(sizes)), "sealed: put again, only what is new is sent")
    world.check(all(world.object(name) == before[name] for name in names), "sealed: and what is there is as it was")
    put(os.path.join(world.source, "1.bin"), b"!", LONG_AGO_NS + 1)
    changed = world.put(os.path.join(world.source, "1.bin"), "--seal", "--below", "Pictures/")
    codes = [problem["code"] for problem in changed.json["problems"]]
    world.equal((changed.code, codes), (3, ["key-taken"]), "sealed: what has changed since is not taken for what is there")
    world.env["LANDFALL_PASSWORD"] = "another password"
    refused = world.run("get", names[1], "--from", "media", "--out", world.path("other"))
    world.equal(refused.code, 4, "sealed: another password does not open them")


#: Names that something on the way could take for something else.
NAMES = [
    "with space +plus &amp; =eq ?q #h %41 %.bin",
    "ünï/cödé/日本語 🎞.bin",
    "quotes ' \" < > ` $ @ ! * ( ) ; : , [ ] { } | ^ ~.bin",
    "dots/..hidden/...three/.bin",
    unicodedata.normalize("NFD", "é.bin"),
    unicodedata.normalize("NFC", "é.bin"),
    "line\nfeed\ttab.bin",
    "long " + "/".join("l" * 200 for _ in range(4)) + "/" + "m" * 200,
]


def names(server):
    """Keys are what files are called, whatever that is"""
    world = BucketWorld(server, "names")
    for name in NAMES:
        world.file(100, name)
    world.put(world.source).expect(0)
    objects = {f"Pictures/{name}": read(os.path.join(world.source, name)) for name in NAMES}
    world.check_holds(objects, "names")
    listed = [item["key"] for item in world.run("ls", "--from", "media").expect(0).json["items"]]
    world.equal(sorted(listed), sorted(objects), "names: `ls` lists them as they are")
    world.run("get", *objects, "--from", "media", "--out", world.path("out")).expect(0)
    world.check(all(read(world.path("out", key)) == body for key, body in objects.items()), "names: `get` fetches them")
    links = [server.client().generate_presigned_url("get_object", world.at(key), 300) for key in objects]
    found = [urllib.request.urlopen(link, timeout=30).read() for link in links]
    world.equal(found, list(objects.values()), "names: links that boto3 signs lead to them")
    one = world.file(2 * PART, "one.bin")
    world.put(one, "--key", NAMES[0]).expect(0)
    world.check(world.object(NAMES[0]) == read(one), "names: of an upload in parts as well")


def others(server):
    """What other tools put there is listed and fetched"""
    world = BucketWorld(server, "others")
    path = world.file(20 * MIB, "by aws.bin")
    to = f"s3://{server.bucket}/{world.prefix}by aws.bin"
    ended = subprocess.run([s3_packages.command("aws"), "s3", "cp", "--only-show-errors", path, to],
                           env={**os.environ, **world.proxy.env()}, capture_output=True)
    world.equal((ended.returncode, ended.stderr), (0, b""), "others: `aws s3 cp` puts an object")
    parts = [request for request in world.proxy.requests() if request.part]
    world.check(len(parts) > 1, "others: in parts", parts)
    listed = world.run("ls", "--from", "media").expect(0).json["items"]
    world.equal([(item["key"], item["size"]) for item in listed], [("by aws.bin", 20 * MIB)], "others: `ls` lists it")
    world.run("get", "by aws.bin", "--from", "media", "--out", world.path("out")).expect(0)
    world.check(read(world.path("out", "by aws.bin")) == read(path), "others: `get` fetches it")


def cancelled(server):
    """What is cancelled in the middle leaves nothing, and can be put again"""
    world = BucketWorld(server, "cancelled", rate=8 * MIB)
    path = world.file(32 * MIB)
    for how in ("while it is sent", "after a kill", "after Ctrl-C"):
        before = world.proxy.count()
        running = world.start_put(path)
        world.proxy.wait_for(lambda request: request.part and request.delivered, since=before)
        if how == "after a kill":
            running.kill()
        elif how == "after Ctrl-C":
            # The first lets the upload that is under way finish.
            running.signal(signal.SIGINT)
            until(lambda: "stopping" in running.errors, "it hears of Ctrl-C")
            running.signal(signal.SIGINT)
            world.equal(running.wait(30), 130, "cancelled: Ctrl-C ends it")
        item = world.items()[0]["id"]
        world.equal(len(world.uploads()), 1, f"cancelled {how}: an upload is open")
        world.run("cancel", item).expect(0)
        if how == "while it is sent":
            running.wait(30)
        world.equal(world.run("show", item).expect(0).json["state"], "cancelled", f"cancelled {how}: it is")
        world.check_holds({}, f"cancelled {how}")
    world.proxy.rate = None
    world.put(path).expect(0)
    world.check_holds({"file.bin": read(path)}, "cancelled, and put again")


def lost_answers(server):
    """An answer that is lost is asked for, and nothing is done twice"""
    long, odd = 2 * PART + 1, "a+b %41, ü.bin"
    for number, (operation, order, size, key) in enumerate([
        ("CompleteMultipartUpload", ("lose",), long, "file"), ("CompleteMultipartUpload", ("truncate", 10), long, "file"),
        ("CompleteMultipartUpload", ("cut",), long, "file"), ("CreateMultipartUpload", ("lose",), long, "file"),
        ("CreateMultipartUpload", ("lose",), long, odd), ("CreateMultipartUpload", ("truncate", 10), long, "file"),
        ("UploadPart", ("lose",), long, "file"), ("UploadPart", ("cut", 1000), long, "file"),
        ("PutObject", ("lose",), PART, "file"), ("PutObject", ("truncate", 0), PART, "file"), ("HeadObject", ("lose",), PART, "file"),
    ]):
        what = f"lost: {operation}, {order[0]}, {key}"
        world = BucketWorld(server, f"lost-{number}")
        # What it learns of a bucket at its first upload is not what is meant.
        world.put(world.file(1, "first")).expect(0)
        path, before = world.file(size), world.proxy.count()
        world.proxy.script = once(operation, order)
        outcome = world.put(path, "--key", key, "--budget", "20s")
        world.equal((outcome.code, [file["state"] for file in outcome.json["files"]]), (0, ["done"]), f"{what}: it ends done")
        world.check_holds({key: read(path), "first": read(os.path.join(world.source, "first"))}, what)
        seen = world.proxy.requests(before)
        creates = 0 if size == PART else 2 if operation == "CreateMultipartUpload" else 1
        found = [request.operation for request in seen].count("CreateMultipartUpload")
        world.equal(found, creates, f"{what}: no upload too many")
        sent = sum(request.received for request in seen if request.operation in ("UploadPart", "PutObject"))
        # A part that was sent into the blue goes again, unless the bucket can show that it has the right bytes.
        again = {("UploadPart", "lose"): 0 if server.traits.lists_checksums else PART, ("UploadPart", "cut"): PART}
        most = size + again.get((operation, order[0]), 0)
        world.check(size <= sent <= most, f"{what}: no byte goes twice that the bucket can show", f"{sent} > {most}")


def once(operation, order):
    """A script that gives an order to the first request of a kind, and lets the others pass."""
    given = []

    def script(request):
        if request.operation == operation and not given:
            given.append(request)
            return order
        return None

    return script


def guarded(server):
    """What somebody else has put there is not overwritten, unless that is asked for"""
    world = BucketWorld(server, "guarded")
    client = server.client()

    def refused(outcome, key, theirs, what):
        codes = [problem["code"] for problem in outcome.json.get("problems", ())]
        world.equal((outcome.code, codes), (3, ["key-taken"]), f"guarded, {what}: it is refused, and said why")
        world.check(world.object(key) == theirs, f"guarded, {what}: what was there is there")

    def tidy(what):
        for item in world.items():
            world.run("cancel", item["id"]).expect(0)
        world.equal(world.uploads(), [], f"guarded, {what}: no incomplete upload is left")

    for size, kind in ((1000, "small"), (2 * PART, "in parts")):
        path = world.file(size, f"{kind}.bin")
        for length, other in ((10, "of another length"), (size, "of the same length")):
            key, theirs = f"{kind} {other}", noise(length, f"theirs {other}")
            client.put_object(**world.at(key), Body=theirs)
            refused(world.put(path, "--key", key), key, theirs, f"{kind}, {other}")
            # As the hint says, and without taking back what was refused.
            outcome = world.put(path, "--key", key, "--overwrite")
            is_there = world.object(key) == read(path)
            world.equal((outcome.code, is_there), (0, True), f"guarded, {kind}, {other}: `--overwrite` replaces it")
            tidy(f"{kind}, {other}")
    for operation, size in (("CreateMultipartUpload", 2 * PART), ("CompleteMultipartUpload", 2 * PART), ("PutObject", 1000)):
        key, theirs, path = f"at {operation}", noise(size, "theirs"), world.file(size, f"{operation}.bin")
        world.proxy.script = once_below(world, operation, lambda: client.put_object(**world.at(key), Body=theirs))
        outcome = world.put(path, "--key", key)
        world.proxy.script = None
        honours = server.traits.put_if_none_match if operation == "PutObject" else server.traits.complete_if_none_match
        if operation == "CreateMultipartUpload" or honours == 412:
            refused(outcome, key, theirs, f"one that appears at {operation}")
        else:
            world.figure(f"guarded: one that appears at {operation} is overwritten: exit {outcome.code}")
        tidy(f"one that appears at {operation}")
    for kind in ("small", "in parts"):
        again = [world.put(os.path.join(world.source, f"{kind}.bin"), "--key", f"same {kind}").code for _ in range(2)]
        world.equal(again, [0, 0], f"guarded, {kind}: what is there already may be put again")


def once_below(world, operation, act):
    """A script that acts before the first request of a kind for a key of a test, and lets it pass."""
    done = []

    def script(request):
        if request.operation == operation and "/." not in request.key and not done:
            done.append(act())
        return None

    return script


def left_behind(server):
    """What a home left in the bucket and gave up is replaced by what comes next, and nothing else is"""
    client = server.client()
    for operation, size in (("PutObject", 1000), ("CompleteMultipartUpload", 2 * PART)):
        for comes in ("nothing", "another"):
            what = f"left by {operation}, and {comes} comes instead"
            world = BucketWorld(server, f"left-{operation}-{comes}")
            # What it learns of a bucket at its first upload is not what is meant.
            world.put(world.file(1, "first"), "--key", "first").expect(0)
            world.proxy.script = once(operation, ("delay", 60))
            running = world.start_put(world.file(size, "old"), "--key", "key")
            until(lambda: world.object("key") is not None, "it is in the bucket")
            running.kill()
            for item in world.items():
                world.run("cancel", item["id"]).expect(0)
            path, theirs = world.file(size, "new"), noise(size, "theirs")
            conditions = []

            def script(request):
                if request.operation == operation and "/." not in request.key:
                    conditions.append(request.headers.get("if-match"))
                    if conditions[-1] and comes == "another":
                        client.put_object(**world.at("key"), Body=theirs)

            world.proxy.script = script
            outcome = world.put(path, "--key", "key", "--budget", "20s")
            world.proxy.script = None
            there = world.object("key")
            honours = server.traits.put_if_match if operation == "PutObject" else server.traits.complete_if_match
            if comes == "another" and any(conditions) and honours == 412:
                codes = [problem["code"] for problem in outcome.json.get("problems", ())]
                world.equal((outcome.code, codes, there == theirs), (3, ["key-taken"], True), f"{what}: it is refused, and stays")
            else:
                world.equal((outcome.code, there == read(path)), (0, True), f"{what}: it is replaced")
            world.figure(f"{what}: exit {outcome.code}, conditions {conditions}")


def wrong_keys(server):
    """An upload with wrong keys is blocked, and goes on once they are right"""
    world = BucketWorld(server, "keys")
    path = world.file(2 * PART + 1)
    world.add("media", "--replace", secret="0" * 40)
    outcome = world.put(path)
    codes = [(problem["code"], bool(problem["remedy"])) for problem in outcome.json["problems"]]
    world.equal(codes, [("bad-credentials", True)], "keys: with a wrong secret it is blocked, and a remedy said")
    world.equal(outcome.code, 3, "keys: and the exit code says so")
    world.equal(world.run("run").code, outcome.code, "keys: it stays so")
    world.run("destination", "add", "s3", "media", "--replace", "--secret-file", world.secret_file()).expect(0)
    world.run("retry", "--all").expect(0)
    world.run("run").expect(0)
    world.check_holds({"file.bin": read(path)}, "keys: with the right ones it goes on")


def changed_source(server):
    """A source that changes while it is sent arrives as it is then, and never mixed"""
    def replace(path, new):
        put(path + ".new", new + b"more", LONG_AGO_NS + 1)
        os.rename(path + ".new", path)

    ways = [("in place", lambda path, new: put(path, new, LONG_AGO_NS)), ("by another, longer file", replace),
            ("to a shorter one", lambda path, new: put(path, new[:PART + 1], LONG_AGO_NS + 2))]
    for how, change in ways:
        world = BucketWorld(server, f"changed {how}")
        path, held, go = world.file(4 * PART), threading.Event(), threading.Event()

        def script(request):
            if request.part_number == 2 and not held.is_set():
                held.set()
                go.wait(60)

        world.proxy.script = script
        running = world.start_put(path)
        world.check(held.wait(60), f"changed {how}: the proxy holds part 2")
        change(path, noise(4 * PART, "changed"))
        go.set()
        world.equal(running.wait(60), 0, f"changed {how}: it ends done")
        world.check_holds({"file.bin": read(path)}, f"changed {how}")


def killed_server(server):
    """A server that is killed and comes back gets the rest"""
    world = BucketWorld(server, "restart", rate=8 * MIB)
    path = world.file(32 * MIB)
    running = world.start_put(path)
    world.proxy.wait_for(lambda request: request.part and request.delivered)
    world.proxy.wait_for(lambda request: request.part and 0 < request.received < request.length)
    started = time.monotonic()
    server.stop()
    world.proxy.cut()
    server.restart()
    back = time.monotonic()
    world.equal(running.wait(120), 0, "restart: it ends done")
    world.figure(f"restart: back after {back - started:.1f} s, done {time.monotonic() - back:.1f} s later")
    world.check_holds({"file.bin": read(path)}, "restart")
    sent = sum(request.received for request in world.proxy.requests(operation="UploadPart"))
    world.figure(f"restart: {sent / MIB:.1f} MiB went for 32 MiB")


def swept(server):
    """`gc` aborts what nobody goes on with, and nothing else"""
    world = BucketWorld(server, "swept", rate=8 * MIB)
    client, path = server.client(), world.file(32 * MIB)

    def left(place):
        upload = client.create_multipart_upload(**place)["UploadId"]
        client.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"left")
        return upload

    def open_ids():
        return {id for _, id in world.uploads()}

    lost = left(world.at("lost.bin"))
    outside = {"Bucket": server.bucket, "Key": "elsewhere/lost.bin"}
    elsewhere = left(outside)
    killed = world.start_put(path)
    world.proxy.wait_for(lambda request: request.part and request.delivered)
    killed.kill()
    ours = open_ids() - {lost}
    world.equal(len(ours), 1, "swept: an upload waits to be gone on with")
    world.equal(world.run("gc").expect(0).json["aborted"], [], "swept: none is a day old")
    aborted = world.run("gc", "--older-than", "0s", "--dry-run").expect(0).json["aborted"]
    world.equal([one["upload_id"] for one in aborted], [lost], "swept: a rehearsal names the one that nobody knows")
    world.equal(open_ids(), ours | {lost}, "swept: and leaves it")
    aborted = world.run("gc", "--older-than", "0s").expect(0).json["aborted"]
    world.equal([(one["upload_id"], one["bytes"]) for one in aborted], [(lost, 4)], "swept: it is aborted")
    world.equal(open_ids(), ours, "swept: and what waits is left alone")
    before = world.proxy.count()
    running = world.start("run")
    world.proxy.wait_for(lambda request: request.part and request.delivered, since=before)
    again = left(world.at("again.bin"))
    aborted = world.run("gc", "--to", "media", "--older-than", "0s").expect(0).json["aborted"]
    world.equal([one["upload_id"] for one in aborted], [again], "swept: while an upload runs, another is aborted")
    world.equal(running.wait(120), 0, "swept: what runs ends done")
    sent_to = {request.upload_id for request in world.proxy.requests(operation="UploadPart")}
    world.equal(sent_to, ours, "swept: and is the same upload")
    world.check_holds({"file.bin": read(path)}, "swept")
    found = client.list_multipart_uploads(Bucket=server.bucket).get("Uploads", ())
    world.check(elsewhere in [upload["UploadId"] for upload in found], "swept: what is not below the prefix is left alone")
    client.abort_multipart_upload(**outside, UploadId=elsewhere)
    for key in ("a+b %41.bin", "ü, x.bin"):
        left(world.at(key))
    world.run("gc", "--older-than", "0s").expect(0)
    world.equal(world.uploads(), [], "swept: keys may be anything")


def secrets(server):
    """No secret is ever said or kept but where secrets are kept"""
    world = BucketWorld(server, "secrets")
    token, canary = f"token-{noise(20, time.time()).hex()}", f"canary-{noise(20, time.time_ns()).hex()}"
    with open(world.path("token"), "w") as file:
        file.write(token)
    path = world.file(1000)
    # A session that no server knows: it is refused, and the words of that are what might hold the token.
    world.add("session", "--session-token-file", world.path("token"), prefix=f"{world.prefix}{canary}/")
    for arguments in (("destination", "show", "session"), ("destination", "test", "session"), ("doctor",), ("config", "show")):
        world.run(*arguments)
        world.run(*arguments, json=False)
    world.put(path, to="session")
    world.put(path, "--key", canary)
    world.run("put", path, "--to", "session", "--key", canary, json=False)
    world.start("put", world.file(1000, canary), "--to", "session").wait(60)
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key, "AWS_SESSION_TOKEN": token}
    world.run("destination", "add", "s3", "surrounding", "--bucket", server.bucket, "--region", server.region, "--endpoint",
              world.proxy.origin, "--prefix", world.prefix, "--path-style", env=keys).expect(0)
    world.run("destination", "test", "surrounding", env=keys)
    world.put(path, "--key", "surrounding", to="surrounding", env=keys)
    for number, form in enumerate(forms(canary)):
        put(world.path("log", f"planted {number}"), f"before {form} after".encode())
    found = said(world, canary)
    for place in ("config.toml", "journal.db", ".out", ".err", "events", *(f"planted {number}" for number in range(4))):
        world.check(any(place in name for name in found), f"secrets: a canary is found in {place}", found)
    mode = os.stat(os.path.join(world.home, "credentials.json")).st_mode & 0o777
    world.equal(mode, 0o600, "secrets: only their owner may read them")
    kept = read(os.path.join(world.home, "credentials.json")).decode()
    world.check(token in kept, "secrets: they are kept where they are to be")
    for one in BucketWorld.all:
        for what, secret in (("secret", server.secret_key), ("reader's secret", server.reader.secret_key), ("token", token)):
            found = said(one, secret)
            if found or one is world:
                one.equal(found, [], f"secrets: no {what} of {one.prefix} is anywhere else")
    count = sum(len(files(one)) for one in BucketWorld.all)
    world.figure(f"secrets: looked for in {count} files of {len(BucketWorld.all)} homes")


def files(world):
    """All that a world's commands have said, and all of its home but where secrets are kept."""
    folders = [os.walk(folder) for folder in (world.home, world.path("log"), world.path("tmp"))]
    found = [os.path.join(base, name) for folder in folders for base, _, names in folder for name in names]
    return [path for path in found if os.path.basename(path) != "credentials.json"]


def said(world, secret):
    """Where a secret is, as it is or as programs like to write bytes."""
    contents = {os.path.relpath(path, world.folder): read(path) for path in files(world)}
    contents |= {f"events {number}": repr(running.events).encode() for number, running in enumerate(world.started)}
    wanted = [form.lower().encode() for form in forms(secret)]
    return sorted(name for name, content in contents.items() if any(form in content.lower() for form in wanted))


def forms(secret):
    """A secret as it is, in hexadecimal digits, in base64 however it goes on, and as the debug format has bytes."""
    content = secret.encode()
    return [secret, content.hex(), base64.b64encode(content).decode().rstrip("=")[:-1], ", ".join(str(byte) for byte in content)]


SCENARIOS = (contents, sealed, names, others, cancelled, lost_answers, guarded, left_behind, bucket_trials.right, bucket_trials.wrong,
             bucket_trials.clocks, wrong_keys, changed_source, killed_server, swept, bucket_kills.resumed, secrets)


def one(name, wanted):
    """All scenarios on one server."""
    started = time.monotonic()
    with s3_servers.start(name) as server:
        figure(f"{name}: started in {server.took:.1f} s")
        for function in SCENARIOS:
            if not wanted or function.__name__ in wanted:
                began = time.monotonic()
                scenario(function, server)
                figure(f"{name}: {function.__name__} took {time.monotonic() - began:.1f} s")
    figure(f"{name}: all in {time.monotonic() - started:.1f} s")
    results.close()


def each(names):
    """A process for each server; their lines are shown as they come."""
    counted = threading.Lock()

    def run(name):
        process = subprocess.Popen([sys.executable, os.path.abspath(__file__), name], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, errors="replace")
        passed = failed = None
        for line in process.stdout:
            if line.endswith(" failed\n") and line[0].isdigit():
                passed, failed = (int(word) for word in line.split() if word.isdigit())
            else:
                print(line, end="", flush=True)
        process.wait()
        with counted:
            if passed is None:
                check(False, f"{name}: the script comes to its end", process.returncode)
            else:
                results.passed, results.failed = results.passed + passed, results.failed + failed

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    s3_packages.python_packages()
    words = os.environ.get("LANDFALL_ONLY", "").split()
    if len(sys.argv) > 1:
        one(sys.argv[1], [word for word in words if word not in s3_servers.NAMES])
    until(lambda: os.access(BIN, os.X_OK), f"`{BIN}` is there", 1)
    names_ = s3_servers.available()
    check({"seaweedfs", "ceph"} <= set(names_), "SeaweedFS and Ceph can be had", names_)
    each([word for word in words if word in s3_servers.NAMES] or names_)
    results.close()
