"""A hostile vault: it has our keys wrapped and our texts sealed, and may do with them what it likes.

To name places that lead elsewhere it must hold the keys, so the test takes them from the home: a thief with the keys
must not be able to write outside of the folder that is restored to, either.
"""

import base64
import hashlib
import json
import os
import shutil
import sqlite3

from nacl import bindings

from landfall import (LONG_AGO_NS, MIB, PASSWORD, Proxy, World, answer, audit_vault, check, check_restored, equal, figure, jpeg,
                      large_photos, photos, put, results, rows, scenario, tree)
from main_job import exif


def write(vault, query, *arguments):
    connection = sqlite3.connect(os.path.join(vault, "server.db"), isolation_level=None)
    try:
        connection.execute("PRAGMA foreign_keys = off")
        return connection.execute(query, arguments).fetchall()
    finally:
        connection.close()


def master_key(home):
    with open(os.path.join(home, "unlock.key")) as file:
        return bytes.fromhex(next(iter(json.load(file).values())))


class Keys:
    """Opens and seals what a record says, with libsodium."""

    def __init__(self, world):
        self.vault, master = world.vault, master_key(world.home)
        self.collections = {id: bindings.crypto_secretbox_open(bytes(sealed), bytes(nonce), master) for id, sealed, nonce in
                            rows(os.path.join(self.vault, "server.db"), "SELECT id, encrypted_key, key_nonce FROM collection")}

    def file_key(self, id):
        collection, sealed, nonce = rows(os.path.join(self.vault, "server.db"),
                                         "SELECT collection, encrypted_key, key_nonce FROM file WHERE id = ?", id)[0]
        return bindings.crypto_secretbox_open(bytes(sealed), bytes(nonce), self.collections[collection])

    @staticmethod
    def open(key, header, sealed):
        state = bindings.crypto_secretstream_xchacha20poly1305_state()
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, bytes(header), key)
        return bindings.crypto_secretstream_xchacha20poly1305_pull(state, bytes(sealed))[0]

    @staticmethod
    def seal(key, text):
        state = bindings.crypto_secretstream_xchacha20poly1305_state()
        header = bindings.crypto_secretstream_xchacha20poly1305_init_push(state, key)
        final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
        return header, bindings.crypto_secretstream_xchacha20poly1305_push(state, text, tag=final)

    def change(self, id, column, change):
        """Replaces the sealed JSON of a record by what `change` makes of it."""
        key = self.file_key(id)
        data = {"magic": "magic_data", "metadata": "metadata"}[column]
        header, sealed = rows(os.path.join(self.vault, "server.db"), f"SELECT {column}_header, {data} FROM file WHERE id = ?", id)[0]
        document = json.loads(self.open(key, header, sealed))
        header, sealed = self.seal(key, json.dumps(change(document) or document).encode())
        write(self.vault, f"UPDATE file SET {column}_header = ?, {data} = ? WHERE id = ?", header, sealed, id)
        return document


def backed_up(name, count=6, large=0):
    world = World(name)
    photos(world.source, count, 3000)
    large_photos(world.source, large, 20 * MIB)
    world.unlock("--to", world.vault)
    world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
    return world


#: Paths as a hostile vault may name them: segments, text or {"hex": …}.
HOSTILE = [
    ["..", "escaped"], ["Pictures", "..", "..", "escaped"], ["../escaped"], ["Pictures", "../../escaped"], ["/tmp/escaped"],
    ["Pictures", "/etc/escaped"], ["/"], ["."], [".."], ["Pictures", "."], ["Pictures", ""], [""], [], ["Pictures", "nul\0byte"],
    ["nul\0byte", "file"], ["Pictures", {"hex": "2e2e"}, "escaped"], [{"hex": "2e2e2f656c73657768657265"}], ["Pictures", {"hex": "00"}],
    ["Pictures", {"hex": "zz"}], ["Pictures", "a/b"], ["Pictures", "x" * 300], ["a" * 5000],
]


def names():
    """Names that lead out of the folder that is restored to"""
    world = backed_up("names", len(HOSTILE) + 4)
    keys = Keys(world)
    ids = [id for (id,) in rows(os.path.join(world.vault, "server.db"), "SELECT id FROM file ORDER BY id")]
    for id, path in zip(ids, HOSTILE):
        keys.change(id, "magic", lambda document: document["places"][0].update(path=path))
    # Without places it is the title that names it.
    for id, title in zip(ids[len(HOSTILE):], ("../escaped", "/tmp/escaped")):
        keys.change(id, "magic", lambda document: document.update(places=[]))
        keys.change(id, "metadata", lambda document: document.update(title=title))
    around = world.path("around")
    os.mkdir(around)
    put(os.path.join(around, "escaped"), b"was here before")
    put("/tmp/landfall-escape-canary", b"was here before")
    before = tree(around)
    out = os.path.join(around, "out")
    got = world.run("restore", out, "--from", world.vault, "--json")
    equal(got.code, 3, "names: exit 3")
    codes = [problem["code"] for problem in got.json["problems"]]
    check(set(codes) <= {"hostile-name", "cannot-write"} and len(codes) == len(HOSTILE) + 2, "names: each is a problem of its own", codes)
    check(all(problem["remedy"] for problem in got.json["problems"]), "names: each with a remedy")
    equal(len(tree(out)), 2, "names: only what has a plain name is written")
    outside = {path: entry for path, entry in tree(around).items() if not path.startswith(b"out/")}
    equal(outside, before, "names: nothing is written outside")
    equal([path for path in ("/tmp/escaped", "/etc/escaped", world.path("escaped"), os.path.join(os.path.dirname(world.folder), "escaped"))
           if os.path.lexists(path)], [], "names: nothing is written at the places named")
    os.remove("/tmp/landfall-escape-canary")


def links_and_others():
    """Links and other files in the folder that is restored to"""
    world = backed_up("links", 4)
    outside, out = world.path("outside"), world.path("out")
    os.makedirs(outside)
    os.makedirs(out)
    os.symlink(outside, os.path.join(out, "Pictures"))
    got = world.run("restore", out, "--from", world.vault, "--json")
    equal((got.code, os.listdir(outside)), (3, []), "links: nothing is written through a linked folder")
    equal({problem["code"] for problem in got.json["problems"]}, {"in-the-way"}, "links: it is said what is in the way")
    os.remove(os.path.join(out, "Pictures"))
    os.mkdir(os.path.join(out, "Pictures"))
    os.symlink(os.path.join(outside, "made through a link"), os.path.join(out, "Pictures", "IMG_00000.jpg"))
    other = put(os.path.join(out, "Pictures", "IMG_00001.jpg"), b"somebody else's")
    same_length = put(os.path.join(out, "Pictures", "IMG_00002.jpg"), b"z" * os.path.getsize(os.path.join(world.source, "IMG_00002.jpg")))
    got = world.run("restore", out, "--from", world.vault, "--json")
    equal((got.code, os.listdir(outside)), (3, []), "links: nothing is written through a linked file")
    equal(sorted(problem["code"] for problem in got.json["problems"]), ["exists", "exists", "in-the-way"], "links: what exists is not replaced")
    check(open(other, "rb").read() == b"somebody else's" and set(open(same_length, "rb").read()) == {ord("z")}, "links: it is as it was")
    equal(got.json["restored"], 1, "links: the rest is restored")
    world.run("restore", out, "--from", world.vault, "--overwrite", "--json").expect(3)
    check(open(other, "rb").read() != b"somebody else's" and not os.listdir(outside), "links: `--overwrite` replaces files, and no links")


def blob(vault, key, number=1):
    account = rows(os.path.join(vault, "server.db"), "SELECT account FROM upload WHERE object_key = ?", key)[0][0]
    return os.path.join(vault, "blobs", str(account), key[:2], key, str(number))


def swap(one, two):
    aside = one + ".aside"
    os.rename(one, aside)
    os.rename(two, one)
    os.rename(aside, two)


def harms(world):
    """What a vault may do to objects: a name, what it does, and whether a restore meets it, or only `verify`, or
    (None) nobody."""
    database = os.path.join(world.vault, "server.db")
    files = rows(database, "SELECT id, file_key, thumbnail_key FROM file ORDER BY id")
    small = [row for row in files if not os.path.exists(blob(world.vault, row[1], 2))]
    (large,) = [row for row in files if os.path.exists(blob(world.vault, row[1], 2))]
    first, second = small[0], small[1]

    def columns(names, one, two):
        values = {row[0]: row[1:] for row in rows(database, f"SELECT id, {', '.join(names)} FROM file WHERE id IN (?, ?)", one, two)}
        for id, other in ((one, two), (two, one)):
            write(world.vault, f"UPDATE file SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?", *values[other], id)

    def flip(path, at):
        with open(path, "r+b") as file:
            file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
            byte = file.read(1)[0]
            file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
            file.write(bytes([byte ^ 1]))

    def longer(path):
        with open(path, "ab") as file:
            file.write(b"x" * 1000)

    yield "an object of another record", lambda: swap(blob(world.vault, first[1]), blob(world.vault, second[1])), True
    yield "a flipped byte in front", lambda: flip(blob(world.vault, first[1]), 20), True
    yield "a flipped byte at the end", lambda: flip(blob(world.vault, first[1]), -1), True
    yield "a flipped byte in the second part", lambda: flip(blob(world.vault, large[1], 2), 100), True
    yield "a truncated object", lambda: os.truncate(blob(world.vault, first[1]), 100), True
    yield "an empty object", lambda: os.truncate(blob(world.vault, first[1]), 0), True
    # The server reads no further than its row says: this one does no harm.
    yield "an enlarged object", lambda: longer(blob(world.vault, first[1])), None
    yield "a missing object", lambda: os.remove(blob(world.vault, first[1])), True
    yield "a large object without its end", lambda: os.truncate(blob(world.vault, large[1], 2), 1000), True
    yield "swapped keys", lambda: columns(["encrypted_key", "key_nonce"], first[0], second[0]), True
    yield "swapped metadata", lambda: columns(["metadata", "metadata_header"], first[0], second[0]), True
    yield "swapped places", lambda: columns(["magic_data", "magic_header"], first[0], second[0]), True
    yield "swapped headers", lambda: columns(["file_header"], first[0], second[0]), True
    yield "flipped header", lambda: write(world.vault, "UPDATE file SET file_header = zeroblob(24) WHERE id = ?", first[0]), True
    yield "swapped thumbnails", lambda: swap(blob(world.vault, first[2]), blob(world.vault, second[2])), False
    yield "a missing thumbnail", lambda: os.remove(blob(world.vault, first[2])), False


def objects():
    """Objects that are not what they were"""
    world = backed_up("objects", 6, 1)
    clean, wanted = world.path("clean"), tree(world.source)
    shutil.copytree(world.vault, clean)
    for number, (what, harm, met) in enumerate(list(harms(world))):
        shutil.rmtree(world.vault)
        shutil.copytree(clean, world.vault)
        harm()
        out = world.path(f"out {number}")
        got = world.run("restore", out, "--from", world.vault, "--json", seconds=120)
        found = tree(os.path.join(out, "Pictures")) if os.path.isdir(out) else {}
        check(all(wanted.get(path) == entry for path, entry in found.items()), f"{what}: nothing wrong is written", sorted(found))
        if met:
            codes = {problem["code"] for problem in got.json.get("problems", [])}
            check(got.code == 3 and codes, f"{what}: the restore says so", (got.code, got.out[-300:]))
            check(codes <= {"tampered", "not-found", "no-such-upload", "server-error", "refused", "damaged-in-transit"},
                  f"{what}: typed {sorted(codes)}")
            check(len(found) >= len(wanted) - 2, f"{what}: the others are restored", len(found))
        if met is None:
            equal((got.code, len(found)), (0, len(wanted)), f"{what}: all are restored")
            continue
        verified = world.run("verify", "--read-data", "--from", world.vault, "--json", seconds=120)
        check(verified.code == 3 and verified.json.get("problems"), f"{what}: `verify --read-data` finds it", (verified.code, verified.out[-300:]))


def old_object():
    """An older object, and an answer without end"""
    world = World("old")
    photos(world.source, 2, 3000)
    server = world.serve()
    proxy = Proxy(server.port)
    world.run("login", proxy.url, "--token-file", server.token_file, env={"LANDFALL_PASSWORD": PASSWORD}).expect(0)
    world.unlock("--to", proxy.url)
    world.run("backup", world.source, "--to", proxy.url).expect(0)
    put(os.path.join(world.source, "IMG_00000.jpg"), jpeg("newer", 3000), LONG_AGO_NS + 10**9)
    world.run("backup", world.source, "--to", proxy.url).expect(0)
    database = os.path.join(world.vault, "server.db")
    keys = dict(rows(database, "SELECT id, file_key FROM file ORDER BY id"))
    swap(blob(world.vault, keys[1]), blob(world.vault, keys[3]))
    got = world.run("restore", world.path("out"), "--from", proxy.url, "--json")
    equal((got.code, {problem["code"] for problem in got.json["problems"]}), (3, {"tampered"}), "old object: an earlier version is not taken for the present one")
    swap(blob(world.vault, keys[1]), blob(world.vault, keys[3]))
    endless = 10 << 30

    def script(exchange):
        if exchange.method == "GET" and exchange.path.startswith("/blobs/"):
            # It says ten gigabytes and sends a lot of them.
            return "answer", f"HTTP/1.1 200 OK\r\nContent-Length: {endless}\r\n\r\n".encode() + b"\0" * (8 * MIB)
        return None

    proxy.script = script
    got = world.run("restore", world.path("endless"), "--from", proxy.url, "--json", seconds=120)
    check(got.code in (1, 3, 5), "endless answer: the restore ends", got.code)
    problems = {problem["code"] for problem in got.json.get("problems", [])} | {got.json.get("error", {}).get("code")}
    check("tampered" in problems or "bad-answer" in problems, "endless answer: it is typed", problems)
    equal(tree(world.path("endless")), {}, "endless answer: nothing is written")
    proxy.script = lambda exchange: ("answer", answer(200, "OK", b'{"diff": [' + b" " * (40 * MIB))) if exchange.path == "/vault/diff" else None
    got = world.run("restore", world.path("long"), "--from", proxy.url, "--json", seconds=120)
    check(got.code in (1, 3, 5) and got.json["error"]["code"], "long answer: it is refused", (got.code, got.out[-300:]))
    figure(f"long answer: {got.json['error']['code']}")
    proxy.script = None
    server.stop()


def secrets():
    """What the vault gives away"""
    world = World("secrets")
    title, place, album = "Wedding of Canaria.jpg", "Hidden Valley", "Canary Islands"
    picture = jpeg("secret", 5000)
    picture = picture[:2] + exif(6) + picture[2:]
    source = os.path.join(world.source, place, title)
    put(source, picture)
    put(source.replace(".jpg", ".xmp"), b"<x:xmpmeta>Canary sidecar text</x:xmpmeta>")
    made = world.run("backup", world.source, "--to", world.vault, "--album", album, "--json", env={"LANDFALL_PASSWORD": PASSWORD}).expect(0)
    world.unlock("--to", world.vault)
    master, keys = master_key(world.home), Keys(world)
    ids = [id for (id,) in rows(os.path.join(world.vault, "server.db"), "SELECT id FROM file")]
    raw = {"the master key": master, "a collection key": next(iter(keys.collections.values()))}
    raw |= {f"the key of file {id}": keys.file_key(id) for id in ids}
    contents = [picture, open(source.replace(".jpg", ".xmp"), "rb").read()]
    for number, content in enumerate(contents):
        for name, state in (("blake2b-512", hashlib.blake2b(content)), ("blake2b-256", hashlib.blake2b(content, digest_size=32)),
                            ("sha-256", hashlib.sha256(content)), ("sha-512", hashlib.sha512(content)), ("md5", hashlib.md5(content)),
                            ("sha-1", hashlib.sha1(content))):
            raw[f"the {name} of content {number}"] = state.digest()
    raw["a master key half"] = master[:16]
    texts = {"title": title, "place": place, "album": album, "camera": "Canary Optics", "moment": "2021:02:03", "iso moment": "2021-02-03T04",
             "sidecar": "Canary sidecar text", "password": PASSWORD, "root": "Pictures", "device": "landfall-device-canary",
             "recovery key": made.json["recovery_key"], "recovery words": " ".join(made.json["recovery_key"].split()[:4]), "source path": world.source}
    needles = {name: [text.encode(), text.encode("utf-16-le"), base64.b64encode(text.encode()).rstrip(b"=")[:-1], text.encode().hex().encode()]
               for name, text in texts.items()}
    for name, value in raw.items():
        needles[name] = [value, value.hex().encode(), value.hex().upper().encode(), base64.b64encode(value).rstrip(b"="),
                         base64.urlsafe_b64encode(value).rstrip(b"=")]
    needles["picture bytes"] = [picture[300:340], picture[2000:2040]]
    forms = sum(map(len, needles.values()))

    def found():
        said = set()
        for base, folders, names in os.walk(world.vault):
            for name in [*folders, *names]:
                said |= {what for what, forms in needles.items() if any(form in os.fsencode(name) for form in forms)}
            for name in names:
                with open(os.path.join(base, name), "rb") as file:
                    content = file.read()
                said |= {what for what, forms in needles.items() if any(form in content for form in forms)}
        return said

    # First: is each of them found if it is there? In the database and in a blob, in each form.
    for form in range(5):
        world.run("ls", "--from", world.vault).expect(0)
        kept = world.path("kept")
        shutil.copytree(world.vault, kept)
        planted = b"\n".join(forms[form] for forms in needles.values() if form < len(forms))
        write(world.vault, "CREATE TABLE canary (text BLOB)")
        write(world.vault, "INSERT INTO canary VALUES (?)", planted[: len(planted) // 2])
        at = next(os.path.join(base, name) for base, _, names in os.walk(os.path.join(world.vault, "blobs")) for name in names)
        with open(at, "ab") as file:
            file.write(planted)
        wanted = {what for what, forms in needles.items() if form < len(forms)}
        equal(wanted - found(), set(), f"secrets: a planted canary of form {form} is found, each of {len(wanted)}")
        shutil.rmtree(world.vault)
        shutil.move(kept, world.vault)
    equal(found(), set(), f"secrets: nothing of {len(needles)} secrets in {forms} forms is in the vault")
    equal(audit_vault(world.vault, 2), [], "secrets: the vault is sound")


if __name__ == "__main__":
    wanted = os.environ.get("LANDFALL_ONLY", "").split()
    for one in (names, links_and_others, objects, old_object, secrets):
        if not wanted or one.__name__ in wanted:
            scenario(one)
    results.close()
