#!/bin/sh
# Backs up a folder with the real binary and gives it back with `read_vault.py`, the reader of `docs/format.md`. Needs
# cargo (or a binary in LANDFALL_BIN), python3 with venv, and the package registries on the first run.
set -eu
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
venv=$target/peers-venv
if ! "$venv/bin/python" -c 'import nacl; assert nacl.__version__ == "1.6.2"' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check pynacl==1.6.2
fi
if [ -z "${LANDFALL_BIN:-}" ]; then
    cargo build --release --locked -p landfall-cli
    LANDFALL_BIN=$target/release/landfall
fi
"$venv/bin/python" tests/peers/read_vault_check.py "$LANDFALL_BIN"
