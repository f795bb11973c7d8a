#!/usr/bin/env bash
# What goes wrong around a backup: servers, networks, disks, passwords, the journal itself. Needs root.
. "$(dirname "$0")/_common.sh"
run_script trouble
