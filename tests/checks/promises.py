"""Checks that every test and every sabotage named in `docs/promises.md`, and every test of ours named in
`docs/send-queue-scenarios.md`, exists. Prints `N passed, N failed`.

A test is `module::function`: a `#[test]` of that name in a file `module.rs` below `crates`, or `script.py scenario`:
a scenario that a script in `tests/real` runs.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    rows = [line for line in (ROOT / "docs/promises.md").read_text().splitlines() if re.match(r"\| [A-Z]", line)]
    measures = measures_of(ROOT / "crates/landfall-env/src/steps.rs")
    known = tests()
    passed, complaints = 0, []
    for row in rows:
        promise, named, sabotages = [cell.strip() for cell in row.strip("|").split("|")]
        names = re.findall(r"`([^`]+)`", named)
        missing = [f"there is no test `{name}`" for name in names if name not in known]
        missing += [f"there is no sabotage `{name}`" for name in re.findall(r"`([^`]+)`", sabotages) if name not in measures]
        missing += [] if names else ["no test is named"]
        complaints += [f"{promise} {what}" for what in missing]
        passed += len(names) - len(missing)
    for scenario, ours in scenarios():
        names = re.findall(r"`(\w+::\w+)`", ours)
        missing = [f"there is no test `{name}`" for name in names if name not in known]
        missing += [] if names or ours.startswith("*Does not apply*") else ["neither a test nor a reason is named"]
        complaints += [f"{scenario} {what}" for what in missing]
        passed += len(names) - len(missing)
    for complaint in complaints:
        print(complaint)
    print(f"{passed} passed, {len(complaints)} failed")
    sys.exit(1 if complaints or not rows or not scenarios() else 0)


def scenarios():
    rows = [line for line in (ROOT / "docs/send-queue-scenarios.md").read_text().splitlines() if line.startswith("| `test_")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [(theirs, ours) for theirs, _, ours in cells]


def tests():
    found = set()
    for path in ROOT.glob("crates/*/**/*.rs"):
        for attributes, name in re.findall(r"((?:^\s*#\[.*\]\n)+)\s*(?:async )?fn (\w+)", path.read_text(), re.MULTILINE):
            if re.search(r"#\[(?:tokio::)?test\b", attributes):
                found.add(f"{path.stem}::{name}")
    scripts = {path: path.read_text() for path in ROOT.glob("tests/real/*.py")}
    for path, text in scripts.items():
        # Or another script runs it, by the name of its module.
        found |= {f"{path.name} {name}" for other in scripts.values() for name in re.findall(rf"\b{path.stem}\.(\w+)", other)
                  if re.search(rf"^def {name}\b", text, re.MULTILINE)}
        # Only what the script runs is a scenario.
        runs = text.partition('if __name__ == "__main__":')[2] + text.partition("\nSCENARIOS =")[2]
        found |= {f"{path.name} {name}" for name in re.findall(r"^def (\w+)", text, re.MULTILINE) if re.search(rf"\b{name}\b", runs)}
    return found


def measures_of(path):
    body = re.search(r"pub enum Sabotage \{(.*?)^\}", path.read_text(), re.MULTILINE | re.DOTALL).group(1)
    return set(re.findall(r"^    (\w+),", body, re.MULTILINE))


main()
