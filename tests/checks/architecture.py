"""Checks that everything `ARCHITECTURE.md` names in code spans exists. Prints `N passed, N failed`.

A path must exist, `*` matching anything. A crate must be a folder of `crates`. A name of a type, function, constant, module
or variant must be defined in some `*.rs` file, each segment of `a::b` for itself. Anything else must at least occur in the
code.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT_OUT = {"target", ".git"}
EXTERNAL = {"tower::Service"}


def main():
    text = re.sub(r"^```.*?^```$", "", (ROOT / "ARCHITECTURE.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    spans = sorted(set(re.findall(r"`([^`\n]+)`", text)) - EXTERNAL)
    code = Code()
    failed = [complaint for span in spans if (complaint := code.complaint(span))]
    for complaint in failed:
        print(complaint)
    print(f"{len(spans) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed or not spans else 0)


class Code:
    def __init__(self):
        self.rust = "\n".join(path.read_text() for path in sources("*.rs"))
        self.all = self.rust + "\n".join(path.read_text() for end in ("*.sql", "*.toml") for path in sources(end))

    def complaint(self, span):
        if re.fullmatch(r"landfall(-[a-z]+)?", span):
            return None if (ROOT / "crates" / span).is_dir() else f"`{span}` is no crate"
        if is_path(span):
            there = any(ROOT.glob(span)) if "*" in span else (ROOT / span).exists()
            return None if there else f"`{span}` does not exist"
        if re.fullmatch(r"\w+(::\w+)*", span) and (re.search(r"::|[a-z]_[a-z]", span) or re.match(r"[A-Z]\w*[a-z]", span)):
            missing = [name for name in span.split("::") if not self.defines(name)]
            return f"`{span}`: {', '.join(missing)} is defined nowhere" if missing else None
        return None if span in self.all or span.split("=")[0] in self.all else f"`{span}` does not occur in the code"

    def defines(self, name):
        if name.startswith("landfall_"):
            return (ROOT / "crates" / name.replace("_", "-")).is_dir()
        item = rf"\b(?:struct|enum|trait|type|fn|const|mod)\s+{name}\b"
        variant = rf"^\s+{name}\b\s*(?:,|\(|\{{|=)"
        index = rf"\bINDEX {name}\b"
        return bool(re.search(f"(?:{item})|(?:{variant})|(?:{index})", self.all, re.MULTILINE))


def is_path(span):
    return "/" in span and " " not in span and (ROOT / span.split("/")[0]).exists() or (
        re.fullmatch(r"[\w.-]+\.(md|toml|py|sh|rs)", span) is not None
    )


def sources(pattern):
    for path in ROOT.rglob(pattern):
        if not KEPT_OUT & set(path.relative_to(ROOT).parts):
            yield path


main()
