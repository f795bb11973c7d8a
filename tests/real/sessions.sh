#!/usr/bin/env bash
# The commands of docs/sessions.md, as they stand there; then what happens to sessions on their way to a bucket: refused keys,
# kills, changes of mind, states that another program left, clean-up.
. "$(dirname "$0")/_common.sh"
run_script sessions
