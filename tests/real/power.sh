#!/usr/bin/env bash
# The power fails: a loop-mounted ext4 with the home and the vault is shut down without a flush. Needs root.
. "$(dirname "$0")/_common.sh"
need xfs_io xfsprogs
need mkfs.ext4 e2fsprogs
run_script power
