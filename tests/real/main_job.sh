#!/usr/bin/env bash
# A folder of real media goes to a vault and comes back, whatever it is called; the second time nothing is read.
. "$(dirname "$0")/_common.sh"
need setpriv util-linux
need strace strace
media=${LANDFALL_MEDIA:-$target/media}
# Real files from the registries, if they can be reached; pictures made here are taken in any case.
bash "$root/tests/fixtures-media/collect.sh" "$media" || true
export LANDFALL_MEDIA=$media
run_script main_job
