"""The main job on real media: every kind of file and of name goes there and comes back."""

import io
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import zlib

from landfall import (BIN, JPEG, LONG_AGO_NS, MIB, PASSWORD, World, check, check_restored, check_sound, difference, distinct, equal,
                      figure, jpeg, photos, put, results, scenario, tree, video)

MEDIA = os.environ.get("LANDFALL_MEDIA", "")
NOBODY = 65534


def exif(orientation, latitude=(48, 51, 29), longitude=(2, 17, 40)):
    """An EXIF segment with orientation, camera, time and place."""
    def entry(tag, kind, count, value):
        return struct.pack(">HHI", tag, kind, count) + value

    make, moment = b"Canary Optics\0", b"2021:02:03 04:05:06\0"
    # Positions are counted from the TIFF header.
    main, sub, gps = 8, 8 + 2 + 5 * 12 + 4, 8 + 2 + 5 * 12 + 4 + 2 + 12 + 4
    data = gps + 2 + 4 * 12 + 4
    strings = make + moment
    rational = lambda parts: b"".join(struct.pack(">II", part, 1) for part in parts)
    tiff = b"MM\0*" + struct.pack(">I", main)
    tiff += struct.pack(">H", 5)
    tiff += entry(0x010F, 2, len(make), struct.pack(">I", data))
    tiff += entry(0x0112, 3, 1, struct.pack(">HH", orientation, 0))
    tiff += entry(0x0132, 2, len(moment), struct.pack(">I", data + len(make)))
    tiff += entry(0x8769, 4, 1, struct.pack(">I", sub))
    tiff += entry(0x8825, 4, 1, struct.pack(">I", gps)) + b"\0\0\0\0"
    tiff += struct.pack(">H", 1) + entry(0x9003, 2, len(moment), struct.pack(">I", data + len(make))) + b"\0\0\0\0"
    tiff += struct.pack(">H", 4)
    tiff += entry(1, 2, 2, b"N\0\0\0") + entry(2, 5, 3, struct.pack(">I", data + len(strings)))
    tiff += entry(3, 2, 2, b"E\0\0\0") + entry(4, 5, 3, struct.pack(">I", data + len(strings) + 24)) + b"\0\0\0\0"
    tiff += strings + rational(latitude) + rational(longitude)
    segment = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment


def png(seed):
    rng = random.Random(seed)
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    lines = b"".join(b"\0" + rng.randbytes(3 * 32) for _ in range(24))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


#: Names that a file system takes and a program may trip over, as bytes.
NAMES = ["Ünïcödé ñame.jpg", "e\u0301 decomposed.jpg", "\u00e9 composed.jpg", "🏔️ family 👨‍👩‍👧.jpg", "line\nbreak.jpg", "tab\there.jpg",
         " leading and trailing .jpg ", "quote'\"`$(x).jpg", "-rf.jpg", "back\\slash.jpg", "con.jpg", "日本語.jpg", "שלום.jpg",
         "\x1b[31mred.jpg", "percent%20.jpg"]
RAW_NAMES = [b"latin1 \xe9\xff.jpg", b"x" * 251 + b".jpg"]


def real_media(folder):
    """Whatever was collected; returns how many of which ending."""
    kinds = {}
    for base, _, names in os.walk(MEDIA):
        for name in sorted(names):
            target = os.path.join(folder, os.path.relpath(base, MEDIA), name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(os.path.join(base, name), target)
            os.utime(target, ns=(LONG_AGO_NS, LONG_AGO_NS))
            kinds[os.path.splitext(name)[1].lower()] = kinds.get(os.path.splitext(name)[1].lower(), 0) + 1
    return kinds


def fill(folder):
    kinds = real_media(os.path.join(folder, "real")) if MEDIA and os.path.isdir(MEDIA) else {}
    figure(f"real media: {dict(sorted(kinds.items()))}")
    for orientation in range(1, 9):
        put(os.path.join(folder, f"turned {orientation}.jpg"), jpeg(f"turned {orientation}", 3000)[:2] + exif(orientation) + jpeg(f"turned {orientation}", 3000)[2:],
            LONG_AGO_NS + orientation)
    put(os.path.join(folder, "drawing.png"), png(1))
    put(os.path.join(folder, "picture.webp"), b"RIFF\x1a\0\0\0WEBPVP8L\r\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0")
    put(os.path.join(folder, "phone.heic"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + random.Random(3).randbytes(5000))
    put(os.path.join(folder, "clip.mov"), b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + random.Random(4).randbytes(70_000))
    video(os.path.join(folder, "clip.mp4"), 3 * MIB, "clip")
    for sidecar, text in (("turned 1.xmp", b"<x:xmpmeta/>"), ("turned 2.jpg.xmp", b"<x:xmpmeta />"), ("turned 3.aae", b"<plist/>"),
                          ("turned 4.jpg.json", b'{"title": "turned 4"}')):
        put(os.path.join(folder, sidecar), text)
    for name in NAMES:
        put(os.path.join(os.fsencode(folder), b"names", os.fsencode(name)), jpeg(name, 1500))
    for name in RAW_NAMES:
        put(os.path.join(os.fsencode(folder), b"names", name), jpeg(repr(name), 1500))
    deep = os.path.join(folder, *["deep"] * 30)
    put(os.path.join(deep, "bottom.jpg"), jpeg("bottom"))
    for copy in ("copy 1.jpg", "copies/copy 2.jpg", "copies/again/copy 3.jpg"):
        put(os.path.join(folder, copy), jpeg("the same everywhere", 5000), LONG_AGO_NS + len(copy))
    put(os.path.join(folder, "before the epoch.jpg"), jpeg("old"), -86_400_000_000_001)
    put(os.path.join(folder, "tomorrow.jpg"), jpeg("tomorrow"), 4_000_000_000_000_000_007)
    # Not taken: empty, no media, a link to nowhere, a folder reached by a link.
    put(os.path.join(folder, "empty.jpg"), b"")
    put(os.path.join(folder, "notes.txt"), b"no picture")
    os.symlink("nowhere.jpg", os.path.join(folder, "dangling.jpg"))
    os.symlink("copies", os.path.join(folder, "linked folder"))
    video(os.path.join(folder, "long.mp4"), 2048 * MIB, "long")


def taken(path):
    return path not in (b"empty.jpg", b"notes.txt")


def everything():
    """A folder of everything goes to a vault and comes back"""
    world = World("main")
    # The one who backs up is nobody special: so an unreadable file is one.
    os.chmod(world.folder, 0o755)
    mine = world.path("nobody's")
    os.mkdir(mine)
    world.source, world.home, world.vault = (os.path.join(mine, name) for name in ("Pictures", "home", "vault"))
    world.env["LANDFALL_HOME"] = world.home
    fill(world.source)
    unreadable = put(os.path.join(world.source, "secret.jpg"), jpeg("secret"))
    binary = world.path("landfall")
    shutil.copy(BIN, binary)
    os.chmod(binary, 0o755)
    for folder in (mine, world.path("tmp")):
        subprocess.run(["chown", "-R", "-h", f"{NOBODY}:{NOBODY}", folder], check=True)
    os.chown(unreadable, 0, 0)
    os.chmod(unreadable, 0)
    as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    password = {"LANDFALL_PASSWORD": PASSWORD}

    def run(*arguments, **options):
        return world.run(*arguments, binary=binary, wrap=as_nobody, seconds=600, **options)

    wanted = {path: entry for path, entry in tree(world.source, taken).items() if path != b"secret.jpg" and entry[1]}
    dry = run("backup", world.source, "--to", world.vault, "--dry-run", "--json")
    equal((dry.code, [one["path"] for one in dry.json["problems"]]), (3, ["Pictures/secret.jpg"]), "everything: a dry run names the unreadable file")
    equal(dry.json["new"], len(wanted), "everything: a dry run counts what will be taken")
    first = run("backup", world.source, "--to", world.vault, "--json", env=password)
    equal(first.code, 3, "everything: exit 3 for the one unreadable file")
    problems = first.json["problems"]
    equal([(one["path"], one["code"]) for one in problems], [("Pictures/secret.jpg", "source-unreadable")], "everything: it is named")
    check(problems[0]["remedy"] and b"secret.jpg" in first.err, "everything: with a remedy", problems)
    skipped = {one["path"]: one["code"] for one in first.json["skipped"]}
    expected = {"Pictures/" + os.fsdecode(path): "empty" for path in tree(world.source) if not os.path.getsize(os.path.join(os.fsencode(world.source), path))}
    expected |= {"Pictures/notes.txt": "not-media", "Pictures/dangling.jpg": "dangling-link", "Pictures/linked folder": "linked-folder"}
    equal(skipped, expected, "everything: what is skipped is named with its reason")
    contents = len({entry[0] for entry in wanted.values()})
    equal((first.json["uploaded"], first.json["linked"]), (contents, len(wanted) - contents), "everything: each content once, each place kept")
    recovery = first.json["recovery_key"]
    figure(f"everything: {len(wanted)} files, {contents} contents, {sum(entry[1] for entry in wanted.values()) / MIB:.0f} MiB in {first.took:.1f} s")
    os.chown(unreadable, NOBODY, NOBODY)
    os.chmod(unreadable, 0o600)
    second = run("backup", world.source, "--to", world.vault, "--json", env=password)
    equal((second.code, second.json["uploaded"]), (0, 1), "everything: exit 0 once it can be read")
    wanted, contents = tree(world.source, lambda path: path != b"notes.txt" and os.path.getsize(os.path.join(os.fsencode(world.source), path))), contents + 1
    # A machine that has only the folder, and either secret.
    elsewhere = world.path("elsewhere")
    shutil.copytree(world.vault, os.path.join(elsewhere, "vault"))
    for number, (how, env) in enumerate((("password", password), ("recovery key", {"LANDFALL_RECOVERY_KEY": recovery}))):
        out = os.path.join(elsewhere, f"out {number}")
        got = world.run("restore", out, "--from", os.path.join(elsewhere, "vault"), "--home", os.path.join(elsewhere, f"home {number}"),
                        "--json", env=env, seconds=600)
        equal((got.code, got.json.get("problems")), (0, []), f"everything: restored with the {how}")
        said = difference(tree(os.path.join(out, "Pictures")), wanted)
        check(not said, f"everything: {len(wanted)} files come back identical with the {how}", said)
        shutil.rmtree(out)
    check_sound(world, contents, "everything")
    check_metadata(world)


def check_metadata(world):
    """What `ls` shows comes out of the EXIF data."""
    listed = world.run("ls", "--from", world.vault, "--json", env={"LANDFALL_PASSWORD": PASSWORD}).expect(0).json["items"]
    by_path = {path: item for item in listed for path in item["paths"]}
    moments = {by_path[f"Pictures/turned {number}.jpg"]["taken_at"][:10] for number in range(1, 9)}
    check(moments <= {"2021-02-02", "2021-02-03", "2021-02-04"}, "everything: the time a picture was taken is read from it", moments)


def in_terminal():
    """A bar is drawn in a terminal, and nowhere else"""
    import pty
    world = World("terminal")
    photos(world.source, 200, 3000)
    world.unlock("--to", world.vault)
    leader, follower = pty.openpty()
    env = dict(world.env, TERM="xterm")
    process = subprocess.Popen([BIN, "backup", world.source, "--to", world.vault], env=env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    said = io.BytesIO()
    try:
        while block := os.read(leader, 65536):
            said.write(block)
    except OSError:
        pass
    equal(process.wait(60), 0, "terminal: exit 0")
    text = said.getvalue()
    check(b"\x1b[" in text and b"200" in text, "terminal: a bar is drawn", text[-300:])
    check(b"uploaded 200 files" in text, "terminal: a summary closes it", text[-300:])
    photos(world.source, 5, seed="more", name="more {}.jpg")
    plain = world.run("backup", world.source, "--to", world.vault).expect(0)
    check(b"\x1b" not in plain.out + plain.err, "no terminal: no escape byte", plain.err[-300:])


def unchanged():
    """A second backup of 10,000 unchanged files opens none of them and sends nothing"""
    # Ten thousand files take a minute of syncing on a disk, which is not what is looked at here.
    world = World("unchanged", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    for number in range(10_000):
        put(os.path.join(world.source, f"{number // 500:03}", f"IMG_{number:05}.jpg"), jpeg(number, 400), LONG_AGO_NS + number)
    world.unlock("--to", world.vault)
    first = world.run("backup", world.source, "--to", world.vault, "--json", seconds=900).expect(0)
    equal(first.json["uploaded"], 10_000, "unchanged: the first time all are uploaded")
    before = tree(os.path.join(world.vault, "blobs"))
    for attempt in ("second", "third"):
        log = world.path(f"strace {attempt}")
        again = world.run("backup", world.source, "--to", world.vault, "--json", seconds=300,
                          wrap=("strace", "-f", "-qq", "-y", "-e", "trace=open,openat,openat2,read,pread64,mmap", "-o", log)).expect(0)
        with open(log, errors="replace") as file:
            lines = file.read().splitlines()
        check(any("journal.db" in line for line in lines), f"unchanged: the {attempt} time is watched")
        touched = [line for line in lines if ".jpg" in line and "ENOENT" not in line]
        equal(touched[:3], [], f"unchanged: the {attempt} backup opens and reads no file")
        document = again.json
        equal((document["unchanged"], document["uploaded"], document["bytes_sent"], document["bytes_read"]), (10_000, 0, 0, 0),
              f"unchanged: the {attempt} backup sends and reads 0 bytes")
    quick = world.run("backup", world.source, "--to", world.vault, "--json").expect(0)
    figure(f"unchanged: 10,000 files, first {first.took:.1f} s, again {quick.took:.2f} s")
    check(tree(os.path.join(world.vault, "blobs")) == before, "unchanged: the vault is as it was")


if __name__ == "__main__":
    wanted = os.environ.get("LANDFALL_ONLY", "").split()
    for one in (everything, in_terminal, unchanged):
        if not wanted or one.__name__ in wanted:
            scenario(one)
    results.close()
