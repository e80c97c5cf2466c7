#!/usr/bin/env python3
"""Prints the tests that a ctest run skipped, with the reason each gave, one a line.

Reads ctest's LastTest.log: GoogleTest's own skips, and lines that begin with 'SKIPPED: '.
Usage: skipped_tests.py BUILD_DIR
"""
import pathlib
import re
import sys


def skipped(lines):
    reason = ""
    for number, line in enumerate(lines):
        if re.search(r": Skipped$", line) and number + 1 < len(lines):
            reason = lines[number + 1].strip()
        match = re.match(r"\[  SKIPPED \] ([\w/]+\.[\w/]+) \(", line)
        if match:
            yield f"test {match.group(1)}: {reason or 'no reason given'}"
            reason = ""
        elif line.startswith("SKIPPED: "):
            yield line[len("SKIPPED: "):].strip()


def main():
    log = pathlib.Path(sys.argv[1], "Testing", "Temporary", "LastTest.log")
    if not log.exists():
        return
    for line in dict.fromkeys(skipped(log.read_text(errors="replace").splitlines())):
        print(line)


main()
