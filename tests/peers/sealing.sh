#!/bin/sh
# Compares our sealing with libsodium's. Needs cargo, python3 with venv, and the package registries on the first run.
set -eu
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
venv=$target/peers-venv
if ! "$venv/bin/python" -c 'import nacl; assert nacl.__version__ == "1.6.2"' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check pynacl==1.6.2
fi
cargo build --release -p landfall-crypto --examples
"$venv/bin/python" tests/peers/stream_peer.py "$target/release/examples"
