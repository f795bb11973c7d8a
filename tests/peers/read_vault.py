"""Restores a vault folder with the password alone: LANDFALL_PASSWORD=… python3 read_vault.py VAULT OUT [ACCOUNT]"""

import base64
import hashlib
import json
import os
import sqlite3
import sys

import nacl.bindings as sodium

SEALED_CHUNK = (4 << 20) + sodium.crypto_secretstream_xchacha20poly1305_ABYTES
FINAL, unwrap = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL, sodium.crypto_secretbox_open


def need(truth, otherwise):
    if not truth:
        sys.exit(f"error: {otherwise}")


def unseal(sealed_chunks, header, key):
    """Opens a stream chunk by chunk. What it yields is whole only once it has ended."""
    state, tag = sodium.crypto_secretstream_xchacha20poly1305_state(), 0
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    for sealed in sealed_chunks:
        need(tag == 0, "a chunk follows the last one")
        message, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, sealed)
        need(tag == FINAL or (tag == 0 and len(sealed) == SEALED_CHUNK), "a chunk is short, or has a strange tag")
        yield message
    need(tag == FINAL, "a stream ends before its last chunk")


def blob(sealed, header, key):
    return json.loads(b"".join(unseal([sealed], header, key)))


def chunks(folder, numbers):  # an object is its parts, and a part is whole chunks
    for number in numbers:
        with open(os.path.join(folder, str(number)), "rb") as part:
            yield from iter(lambda: part.read(SEALED_CHUNK), b"")


def main(vault, out, account="1"):
    os.makedirs(out)
    db = sqlite3.connect(os.path.join(vault, "server.db"))
    rows = db.execute("SELECT kek_salt, mem_limit, ops_limit, encrypted_key, key_nonce FROM key_attributes"
                      " WHERE account = ?", [account])
    salt, mem, ops, wrapped, nonce = rows.fetchone()
    argon2id, password = sodium.crypto_pwhash_ALG_ARGON2ID13, os.environb[b"LANDFALL_PASSWORD"]
    kek = sodium.crypto_pwhash_alg(32, password, salt, ops, mem, argon2id)
    master = unwrap(wrapped, nonce, kek)
    rows = db.execute("SELECT id, encrypted_key, key_nonce FROM collection WHERE account = ?", [account])
    collections, newest, owners = {id: unwrap(key, nonce, master) for id, key, nonce in rows.fetchall()}, {}, {}
    rows = db.execute(
        "SELECT id, collection, encrypted_key, key_nonce, file_key, file_header, metadata, metadata_header, magic_data,"
        " magic_header, updation_time FROM file WHERE account = ? AND is_deleted = 0", [account])
    for id, collection, key, nonce, name, header, meta, meta_header, magic, magic_header, updated in rows.fetchall():
        key = unwrap(key, nonce, collections[collection])
        meta, places = blob(meta, meta_header, key), blob(magic, magic_header, key).get("places") if magic else []
        alone = {"root": f"#{id}", "path": [meta["title"]], "mtime": str(meta["modificationTime"] * 1000), "v": 0}
        for place in places or [alone]:
            path = tuple(s.encode() if isinstance(s, str) else bytes.fromhex(s["hex"]) for s in place["path"])
            need(all(s not in (b"", b".", b"..") and not {0, 47} & {*s} for s in path), f"a hostile path: {path}")
            found = (place["v"], updated), int(place["mtime"]), key, header, name, base64.b64decode(meta["hash"])
            newest[place["root"], path] = max(found, newest.get((place["root"], path), found))
    for (root, (first, *below)), (_, mtime, key, header, name, digest) in newest.items():
        first += b"" if owners.setdefault(first, root) == root else f" ({root})".encode()
        target, state = os.path.join(os.fsencode(out), first, *below), hashlib.blake2b()
        os.makedirs(os.path.dirname(target), exist_ok=True)
        parts = db.execute("SELECT number FROM part WHERE account = ? AND object_key = ? ORDER BY 1", [account, name])
        folder, numbers = os.path.join(vault, "blobs", account, name[:2], name), [number for number, in parts]
        with open(target, "xb") as file:
            for message in unseal(chunks(folder, numbers), header, key):
                state.update(message)
                file.write(message)
        need(state.digest() == digest, f"{target} is not what was sealed")
        os.utime(target, ns=(mtime, mtime))


main(*sys.argv[1:])
