#!/usr/bin/env bash
# Processes are killed again and again, at random and at every durable step; nothing is lost, doubled or left over.
. "$(dirname "$0")/_common.sh"
run_script kills sim
