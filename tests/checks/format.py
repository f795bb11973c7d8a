"""Compares the readers in `docs/format.md` with those of `tests/peers`. Prints `N passed, N failed`."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
READERS = ("read_vault.py", "read_sealed.py")
LINES_MAX = 80


def main():
    readers = [(ROOT / "tests/peers" / name).read_text() for name in READERS]
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/format.md").read_text(), re.MULTILINE | re.DOTALL)
    checks = {f"the blocks of Python in docs/format.md are {', '.join(READERS)}": blocks == readers}
    checks |= {f"{name} has at most {LINES_MAX} lines": len(reader.splitlines()) <= LINES_MAX
               for name, reader in zip(READERS, readers)}
    failed = [what for what, holds in checks.items() if not holds]
    for what in failed:
        print(f"not so: {what}")
    print(f"{len(checks) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


main()
