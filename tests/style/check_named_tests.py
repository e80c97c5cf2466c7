#!/usr/bin/env python3
"""Fails on a test that docs/failures.md names and that does not exist, and on a row of its catalogue of faults
that names no test without saying why.

Tests are `Suite.Name`, `Suite.*` (also behind `Instantiation/`), functions of the service test, and programs or
tests of a CMakeLists.txt below tests/.
Usage: check_named_tests.py ROOT
"""
import pathlib
import re
import sys

import tree

PAGE = "docs/failures.md"
GOOGLE = re.compile(r"\bTEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)")
NAMED = re.compile(r"`(?:\w+/)?([A-Z]\w*)\.([A-Z]\w*|\*)`")
SERVICE = re.compile(r"`([a-z]+(?:_[a-z]+){2,})`")
PROGRAMS = {"mixed_load", "kill_loop", "simulation", "soak"}


def existing(root):
    """({(suite, test)}, {function of the service test}, text of all CMakeLists.txt below tests/)."""
    tests, functions, built = set(), set(), ""
    for path in tree.files(root):
        name = str(path)
        if not name.startswith("tests/"):
            continue
        if name.endswith(".cpp"):
            tests.update(GOOGLE.findall((root / path).read_text()))
        elif name.startswith("tests/service/") and name.endswith(".py"):
            functions.update(re.findall(r"def (\w+)\(", (root / path).read_text()))
        elif name.endswith("CMakeLists.txt"):
            built += (root / path).read_text()
    return tests, functions, built


def check(root):
    root = pathlib.Path(root)
    page = root / PAGE
    if not page.exists():
        return []
    text = page.read_text()
    tests, functions, built = existing(root)
    suites = {suite for suite, _ in tests}
    problems = []
    for suite, name in NAMED.findall(text):
        if (suite not in suites) if name == "*" else ((suite, name) not in tests):
            problems.append(f"{PAGE}: there is no test {suite}.{name}")
    for name in SERVICE.findall(text):
        if not name.startswith("kvtier_") and name not in functions:
            problems.append(f"{PAGE}: the service test has no {name}")
    for name in PROGRAMS:
        if f"`{name}`" in text and not re.search(rf"\b{name}\b", built):
            problems.append(f"{PAGE}: no test {name} is built")
    rows = tree.table(text, "catalogue")
    if rows is None:
        problems.append(f"{PAGE}: there is no table between catalogue:begin and catalogue:end")
    for row in rows or []:
        if len(row) != 3 or not all(row):
            problems.append(f"{PAGE}: '{row[0]}' has no fault, expectation and test")
        elif not row[2].startswith("none: ") and "." not in row[2] and "_" not in row[2] and row[2] not in PROGRAMS:
            problems.append(f"{PAGE}: '{row[0]}' names no test, nor 'none: ' and why")
    return problems


if __name__ == "__main__":
    found = check(sys.argv[1])
    print("\n".join(found) or "every named test exists")
    sys.exit(1 if found else 0)
