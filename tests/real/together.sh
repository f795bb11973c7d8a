#!/usr/bin/env bash
# Several processes on one home and on one vault at once; one of them stands still and comes back.
. "$(dirname "$0")/_common.sh"
run_script together
