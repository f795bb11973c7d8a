# What developers run. `just --list` shows it.

# The tests that need nothing but Rust and a C compiler
test:
    cargo test --workspace --locked

# Format, lints, and whether the documents agree with the code
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    python3 tests/checks/architecture.py
    python3 tests/checks/format.py
    python3 tests/checks/promises.py

# Everything that must hold before a change is taken
ci:
    .ci/run

# One simulated world again, with its story: `just sim 42`
sim SEED:
    LANDFALL_SEED={{SEED}} cargo test --locked -p landfall-testkit --test simulation nothing_is_lost_and_nothing_happens_twice -- --nocapture

# Many simulated worlds: `just sims 2000`
sims COUNT:
    LANDFALL_SEEDS={{COUNT}} cargo test --locked -p landfall-testkit --test simulation nothing_is_lost_and_nothing_happens_twice -- --nocapture
