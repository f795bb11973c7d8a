#!/usr/bin/env bash
# Backs real media up with the release binary and reads the vault folder with PyNaCl alone (docs/format.md).
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
venv=$target/peers-venv
binary=$(realpath "${LANDFALL_BIN:-$target/release/landfall}")
if ! "$venv/bin/python" -c 'import nacl; assert nacl.__version__ == "1.6.2"' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check pynacl==1.6.2
fi
world=$(mktemp -d)
trap 'rm -rf "$world"' EXIT
bash tests/fixtures-media/collect.sh "$world/media" >/dev/null
find "$world/media" -type f -empty -delete
cp "$(find "$world/media" -name '*.jpg' -print -quit)" "$world/media/twin of another.jpg"
find "$world/media" -type f -exec touch -d '2021-02-03 04:05:06.123456789' {} +
export LANDFALL_PASSWORD='correct horse' LANDFALL_HOME="$world/home"
"$binary" backup "$world/media" --quiet
rm -rf "$world/home"
"$venv/bin/python" tests/peers/read_vault.py "$world/home-vault" "$world/out"
diff -r "$world/media" "$world/out/media"
passed=0 failed=0
while IFS= read -r -d '' file; do
    other="$world/out/media/${file#"$world/media/"}"
    if cmp -s "$file" "$other" && [ "$(stat -c %y "$file")" = "$(stat -c %y "$other")" ]; then
        passed=$((passed + 1))
    else
        echo "differs: $file"
        failed=$((failed + 1))
    fi
done < <(find "$world/media" -type f -print0)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 50 ]
