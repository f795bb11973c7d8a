"""Compares the reader in `docs/format.md` with `tests/peers/read_vault.py`. Prints `N passed, N failed`."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES_MAX = 80


def main():
    reader = (ROOT / "tests/peers/read_vault.py").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/format.md").read_text(), re.MULTILINE | re.DOTALL)
    checks = {
        "docs/format.md has exactly one block of Python": len(blocks) == 1,
        "it is tests/peers/read_vault.py": blocks[:1] == [reader],
        f"it has at most {LINES_MAX} lines": len(reader.splitlines()) <= LINES_MAX,
    }
    failed = [what for what, holds in checks.items() if not holds]
    for what in failed:
        print(f"not so: {what}")
    print(f"{len(checks) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


main()
