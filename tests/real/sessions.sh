#!/usr/bin/env bash
# The commands of docs/sessions.md, as they stand there; then what happens to sessions on their way to a bucket: refused keys,
# kills, changes of mind, states that another program left, clean-up.
. "$(dirname "$0")/_common.sh"
if [ -z "${LANDFALL_RECORDER:-}" ]; then
    (cd "$root" && cargo build --locked -p landfall --example recorder)
    export LANDFALL_RECORDER=$target/debug/examples/recorder
fi
run_script sessions
