#!/usr/bin/env bash
# The commands of docs/chat.md, as they stand there; then kills in the middle of sending, and several senders at once.
. "$(dirname "$0")/_common.sh"
run_script chat_page
