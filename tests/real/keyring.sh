#!/usr/bin/env bash
# The secret of a destination lies in the key store of a desktop, a real one, and nowhere else.
. "$(dirname "$0")/_common.sh"
need gnome-keyring-daemon gnome-keyring
need dbus-run-session dbus-daemon
need secret-tool libsecret-tools
run_script keyring
