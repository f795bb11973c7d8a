#!/usr/bin/env bash
# A vault that is not to be trusted: names that lead elsewhere, objects that are not what they were, and what it gives away.
. "$(dirname "$0")/_common.sh"
venv=$target/peers-venv
if ! "$venv/bin/python" -c 'import nacl; assert nacl.__version__ == "1.6.2"' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check pynacl==1.6.2
fi
PATH=$venv/bin:$PATH
run_script hostile
