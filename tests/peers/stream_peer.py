"""Compares our sealing with libsodium's, as PyNaCl has it, and with hashlib.

Each side opens what the other sealed, and keys derived here and there must be equal. The program that speaks for us is
the example `stream` (files) or `keys` (everything short). Run by `run.sh`; prints `N passed, N failed`.
"""

import hashlib
import pathlib
import secrets
import subprocess
import sys
import tempfile

import nacl.bindings as sodium
import nacl.exceptions

CHUNK = 4 << 20
TAG_MESSAGE = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
TAG_FINAL = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL
OVERHEAD = sodium.crypto_secretstream_xchacha20poly1305_ABYTES

SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK, 20_971_605]


def main():
    examples = pathlib.Path(sys.argv[1])
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            compare_streams(checks, examples / "stream", pathlib.Path(folder), size)
        compare_refusals(checks, examples / "stream", pathlib.Path(folder))
    compare_keys(checks, examples / "keys")
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


class Checks:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, holds):
        if holds:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {name}")


def compare_streams(checks, program, folder, size):
    key, header = secrets.token_bytes(32), secrets.token_bytes(24)
    plain = secrets.token_bytes(size)
    (folder / "plain").write_bytes(plain)

    ours = run_stream(program, "seal", key, header, folder / "plain", folder / "sealed")
    checks.check(f"{size} bytes: our seal succeeds", ours == 0)
    sealed = (folder / "sealed").read_bytes()
    checks.check(f"{size} bytes: the length is as stated", len(sealed) == size + OVERHEAD * max(1, -(-size // CHUNK)))
    opened, tags = pull_all(key, header, sealed)
    checks.check(f"{size} bytes: libsodium opens ours", opened == plain)
    checks.check(f"{size} bytes: only the last chunk is last", tags == [TAG_MESSAGE] * (len(tags) - 1) + [TAG_FINAL])

    theirs_header, theirs = push_all(key, plain)
    (folder / "theirs").write_bytes(theirs)
    code = run_stream(program, "open", key, theirs_header, folder / "theirs", folder / "opened")
    checks.check(f"{size} bytes: we open libsodium's", code == 0 and (folder / "opened").read_bytes() == plain)

    run_stream(program, "seal", key, theirs_header, folder / "plain", folder / "sealed")
    checks.check(f"{size} bytes: under one header both are equal", (folder / "sealed").read_bytes() == theirs)


def compare_refusals(checks, program, folder):
    key, plain = secrets.token_bytes(32), secrets.token_bytes(CHUNK + 5)
    header, sealed = push_all(key, plain)
    spoilt = {
        "a flipped bit": sealed[:-1] + bytes([sealed[-1] ^ 1]),
        "a missing last chunk": sealed[: CHUNK + OVERHEAD],
        "bytes after the end": sealed + b"\0" * 20,
        "no bytes": b"",
    }
    for name, wire in spoilt.items():
        (folder / "spoilt").write_bytes(wire)
        code = run_stream(program, "open", key, header, folder / "spoilt", folder / "opened")
        checks.check(f"{name} is refused", code != 0)
    (folder / "spoilt").write_bytes(sealed)
    code = run_stream(program, "open", key, header, folder / "spoilt", folder / "opened")
    checks.check("what was not spoilt is opened", code == 0)


def compare_keys(checks, program):
    wrapping, key, nonce, salt = (secrets.token_bytes(n) for n in (32, 32, 24, 16))

    box = sodium.crypto_secretbox_easy(key, nonce, wrapping)
    checks.check("a wrapped key is libsodium's", run_keys(program, "wrap", wrapping, nonce, key) == box)
    checks.check("we unwrap libsodium's", run_keys(program, "unwrap", wrapping, nonce, box) == key)
    ours = run_keys(program, "wrap", wrapping, nonce, key)
    checks.check("libsodium unwraps ours", sodium.crypto_secretbox_open_easy(ours, nonce, wrapping) == key)
    for size in (0, 1, 15, 16, 17, 300):
        record = secrets.token_bytes(size)
        box = sodium.crypto_secretbox_easy(record, nonce, wrapping)
        checks.check(f"a record of {size} bytes is libsodium's", run_keys(program, "box", wrapping, nonce, record) == box)
        checks.check(f"we open a record of {size} bytes", run_keys(program, "unbox", wrapping, nonce, box) == record)

    kek = sodium.crypto_pwhash_alg(
        32, b"correct horse", salt, 16, 256 << 20, sodium.crypto_pwhash_ALG_ARGON2ID13
    )
    checks.check("the password gives libsodium's key", run_keys(program, "kek", b"correct horse", salt) == kek)
    checks.check("the login key is libsodium's", run_keys(program, "login", kek) == kdf(kek, 1, b"loginctx")[:16])
    for number, context in ((0, b"journal "), (1, b"contents"), (2**64 - 1, b"\0" * 8)):
        ours = run_keys(program, "subkey", key, number.to_bytes(8, "big"), context)
        checks.check(f"subkey {number} is libsodium's", ours == kdf(key, number, context))

    content = secrets.token_bytes(1000)
    digest = hashlib.blake2b(content).digest()
    checks.check("the digest is hashlib's", run_keys(program, "digest", content) == digest)
    tag = hashlib.blake2b(digest, digest_size=32, key=key).digest()
    checks.check("the tag of a content is hashlib's", run_keys(program, "content-tag", key, content) == tag)
    tag = hashlib.blake2b(content, digest_size=32, key=key, person=b"landfall name   ").digest()
    checks.check("the tag of a name is hashlib's", run_keys(program, "name-tag", key, content) == tag)

    header, blob = push_all(key, content)
    checks.check("we open libsodium's blob", run_keys(program, "open-blob", key, header, blob) == content)
    checks.check("our blob is libsodium's", run_keys(program, "seal-blob", key, header, content) == blob)


def kdf(key, number, context):
    """crypto_kdf_derive_from_key, as libsodium's documentation defines it."""
    salt, person = number.to_bytes(8, "little") + bytes(8), context + bytes(8)
    return hashlib.blake2b(b"", digest_size=32, key=key, salt=salt, person=person).digest()


def push_all(key, plain):
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    header = sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key)
    chunks = [plain[at : at + CHUNK] for at in range(0, len(plain), CHUNK)] or [b""]
    tags = [TAG_MESSAGE] * (len(chunks) - 1) + [TAG_FINAL]
    push = sodium.crypto_secretstream_xchacha20poly1305_push
    return header, b"".join(push(state, chunk, None, tag) for chunk, tag in zip(chunks, tags))


def pull_all(key, header, sealed):
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    plain, tags = [], []
    try:
        for at in range(0, len(sealed), CHUNK + OVERHEAD):
            chunk = sealed[at : at + CHUNK + OVERHEAD]
            message, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, chunk)
            plain.append(message)
            tags.append(tag)
    except (nacl.exceptions.CryptoError, ValueError, RuntimeError) as error:
        print(f"libsodium: {error}")
        return None, tags
    return b"".join(plain), tags


def run_stream(program, verb, key, header, source, target):
    command = [program, verb, key.hex(), header.hex(), source, target]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode


def run_keys(program, verb, *arguments):
    command = [program, verb, *(argument.hex() for argument in arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        print(f"{verb}: {result.stderr.strip()}")
        return None
    return bytes.fromhex(result.stdout.strip())


if __name__ == "__main__":
    main()
