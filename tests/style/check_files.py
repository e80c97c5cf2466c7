#!/usr/bin/env python3
"""Fails on a source file without an opening comment, on one that is too long without a reason, and on words
that do not belong in the tree.

A file of more than 600 lines needs a row `path | lines at most | reason` in long_files.txt beside this.
Usage: check_files.py ROOT
"""
import pathlib
import re
import sys

import tree

LINES_MAX = 600
COMMENTED = tree.SOURCE_ENDINGS + (".py", ".sh", ".cmake", ".toml")
# Split where they would find themselves.
FORBIDDEN = [
    (re.compile(r"(?<![\w.])/(work|farm)/[a-z.]"), "a path of one machine"),
    (re.compile("bash_" + "jobs"), "a path of one machine"),
    (re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b"),
     "unfinished work: finish it, or write what is missing into the documentation"),
]


def allowances(root):
    """{path: lines at most} of files that are long for a reason."""
    listing = root / "tests/style/long_files.txt"
    rows = {}
    for line in listing.read_text().splitlines() if listing.exists() else []:
        if line.strip() and not line.startswith("#"):
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) != 3 or not cells[1].isdigit() or not cells[2]:
                raise ValueError(
                    f"tests/style/long_files.txt: '{line}' is not path | lines at most | reason")
            rows[cells[0]] = int(cells[1])
    return rows


def is_commented(path):
    if str(path).startswith("tests/examples/"):
        return False  # printed word by word in the README, which describes them
    if path.name == "CMakeLists.txt":
        return not str(path).startswith("tests/")  # there it lists tests, which describe themselves
    return path.suffix in COMMENTED or path.name == "Makefile"


def opens_with_comment(lines):
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#!"):
            continue
        return text.startswith(("//", "/*", "#", '"""')) and \
            not re.match(r"#\s*(pragma|include|ifndef|define)\b", text)
    return False


def header_says_it(root, path):
    """A source file may leave the description to the header of its own name, a test to what it tests."""
    if path.suffix != ".cpp":
        return False
    tested = str(path).removeprefix("tests/").removesuffix("_test.cpp") + ".hpp"
    return any(header.is_file() and opens_with_comment(header.read_text(errors="replace").splitlines())
               for header in (root / path.with_suffix(".hpp"), root / tested))


def check(root):
    try:
        long_files = allowances(root)
    except ValueError as error:
        yield str(error)
        return
    present = set()
    for path in tree.files(root):
        data = (root / path).read_bytes()
        if b"\0" in data:
            continue
        lines = data.decode(errors="replace").splitlines()
        present.add(str(path))
        if is_commented(path) and not opens_with_comment(lines) and not header_says_it(root, path):
            yield f"{path}:1: no comment that says what this file is"
        if path.suffix in tree.SOURCE_ENDINGS + (".py", ".sh"):
            limit = long_files.get(str(path), LINES_MAX)
            if len(lines) > limit:
                yield f"{path}: {len(lines)} lines, at most {limit}; split it (or give a reason in " \
                      f"tests/style/long_files.txt)"
        for number, line in enumerate(lines, 1):
            for pattern, meaning in FORBIDDEN:
                if pattern.search(line):
                    yield f"{path}:{number}: {meaning}: {line.strip()[:80]}"
    for path in long_files:
        if path not in present:
            yield f"tests/style/long_files.txt: {path} does not exist any more: drop its row"


def main():
    problems = list(check(pathlib.Path(sys.argv[1]).resolve()))
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(f"{len(problems)} problems")
    print("every file opens with a comment, none is too long, no word is out of place")


if __name__ == "__main__":
    main()
