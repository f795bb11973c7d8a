#!/usr/bin/env bash
# Compares our attachments for messages with those of the published XMTP packages, in both directions. Needs cargo, Node with
# npm (or apt to install them), and the package registries on the first run.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
peers=$target/xmtp-peers
wanted="@xmtp/content-type-remote-attachment@2.0.4 @xmtp/wasm-bindings@1.11.0 @xmtp/proto@3.78.0 protobufjs@7.6.6"
if ! command -v npm >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm
fi
if [ "$(cat "$peers/installed" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$peers"
    mkdir -p "$peers"
    echo '{"private": true}' >"$peers/package.json"
    # shellcheck disable=SC2086 # the packages are several words
    npm install --prefix "$peers" --ignore-scripts --no-audit --no-fund --loglevel=error $wanted
    echo "$wanted" >"$peers/installed"
fi
cargo build --release --locked -p landfall-crypto --example xmtp
node tests/peers/xmtp_peer.mjs "$peers" "$target/release/examples/xmtp"
