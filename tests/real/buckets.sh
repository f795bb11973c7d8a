#!/usr/bin/env bash
# Files go to real S3 servers as they are, through kills, lost answers and wrong settings, and come back whole.
. "$(dirname "$0")/_common.sh"
need faketime faketime
run_script buckets
