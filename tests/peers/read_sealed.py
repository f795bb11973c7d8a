"""Opens a file sealed in a bucket: LANDFALL_PASSWORD=… python3 read_sealed.py KEYS.json SEALED OUT"""

import base64
import json
import os
import struct
import sys

import nacl.bindings as sodium

HEAD, OVERHEAD = 120, sodium.crypto_secretstream_xchacha20poly1305_ABYTES
FINAL, unwrap = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL, sodium.crypto_secretbox_open


def need(truth, otherwise):
    if not truth:
        sys.exit(f"error: {otherwise}")


def master_key(path):
    with open(path) as file:
        keys = json.load(file)
    field = lambda name: base64.b64decode(keys[name])
    password, argon2id = os.environb[b"LANDFALL_PASSWORD"], sodium.crypto_pwhash_ALG_ARGON2ID13
    kek = sodium.crypto_pwhash_alg(32, password, field("kekSalt"), keys["opsLimit"], keys["memLimit"], argon2id)
    return unwrap(field("encryptedKey"), field("keyDecryptionNonce"), kek)


def main(keys, sealed, out):
    with open(sealed, "rb") as source, open(out, "xb") as target:
        magic, chunk, _key_id, nonce, wrapped, header = struct.unpack("<4sI16s24s48s24s", source.read(HEAD))
        need(magic == b"LFS1", "this is no sealed file")
        state, tag = sodium.crypto_secretstream_xchacha20poly1305_state(), 0
        key = unwrap(wrapped, nonce, master_key(keys))
        sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
        for piece in iter(lambda: source.read(chunk + OVERHEAD), b""):
            need(tag == 0, "a chunk follows the last one")
            message, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, piece)
            need(tag == FINAL or (tag == 0 and len(message) == chunk), "a chunk is short, or has a strange tag")
            target.write(message)
        need(tag == FINAL, "the stream ends before its last chunk")


main(*sys.argv[1:])
