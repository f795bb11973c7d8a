#!/usr/bin/env bash
# Four large videos at once in 64 MiB. Needs root and a memory cgroup. LANDFALL_FULL=1 takes 2 GiB each, else 512 MiB.
. "$(dirname "$0")/_common.sh"
run_script memory
