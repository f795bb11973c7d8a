#!/usr/bin/env bash
# Four large videos at once in 64 MiB. Needs root and a memory cgroup. They take 2 GiB each where there is room for
# them and their ciphertext, else (or with LANDFALL_FULL=0) 512 MiB.
. "$(dirname "$0")/_common.sh"
free_kib=$(df -Pk "${LANDFALL_TEST_DIR:-${TMPDIR:-/tmp}}" | awk 'NR == 2 { print $4 }')
if [ -z "${LANDFALL_FULL:-}" ] && [ "$free_kib" -gt $((20 << 20)) ]; then export LANDFALL_FULL=1; fi
run_script memory
