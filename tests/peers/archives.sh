#!/bin/sh
# Lets Python's zipfile and zlib, and Info-ZIP, read the archives and streams that are made here. Needs cargo, python3 and
# unzip, and 5 GiB of addresses in a sparse file.
set -eu
cd "$(dirname "$0")/../.."

command -v unzip >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends unzip; }
# The whole workspace, so that what its tests have built is not built once more.
cargo test --locked --workspace --lib -- --ignored zip::peers:: deflate::tests::
