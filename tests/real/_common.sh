# Sourced by the wrappers: finds or builds the binaries, then runs the Python script of the wrapper's name.
#
# LANDFALL_BIN is the release binary; LANDFALL_SIM_BIN the one with feature `sim`, which stops at named steps.
# LANDFALL_TEST_DIR is where worlds are made (default: the system's temporary folder); it should be on a real disk.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

run_script() { # NAME [sim]
    if [ -z "${LANDFALL_BIN:-}" ]; then
        LANDFALL_BIN=$target/release/landfall
        [ -x "$LANDFALL_BIN" ] || (cd "$root" && cargo build --release --locked -p landfall-cli)
    fi
    if [ "${2:-}" = sim ] && [ -z "${LANDFALL_SIM_BIN:-}" ]; then
        # Always asked: cargo knows whether it is still of this source.
        (cd "$root" && cargo build --release --locked -p landfall-cli --features sim --target-dir "$target/sim")
        LANDFALL_SIM_BIN=$target/sim/release/landfall
    fi
    export LANDFALL_BIN LANDFALL_SIM_BIN="${LANDFALL_SIM_BIN:-}"
    ulimit -c 0
    exec python3 "$here/$1.py"
}

need() { # COMMAND PACKAGE: installs a tool that is missing, if that can be done
    command -v "$1" >/dev/null 2>&1 && return 0
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2"; } >/dev/null 2>&1 || true
    command -v "$1" >/dev/null 2>&1 || { echo "needs \`$1\` of package $2" >&2; exit 1; }
}
