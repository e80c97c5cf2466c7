#!/usr/bin/env python3
"""Fails when the shared library exports a name that is not of kvtier's public API, or lacks a function that
the C header declares. Reads the library with nm.
Usage: check_symbols.py LIBRARY [C_HEADER]
"""
import pathlib
import re
import subprocess
import sys

PUBLIC = re.compile(r"^(kvtier_[a-z0-9_]+$|kvtier::|(typeinfo|vtable|typeinfo name|VTT) for kvtier::)")
# Symbols of the protocol's and the kernels' namespaces are inside; no engine may depend on them.
INSIDE = re.compile(r"^kvtier::(wire|kernels|daemon|tools|client|detail)::|::Impl::")


def nm(*arguments):
    output = subprocess.run(["nm", "--demangle", "--format=posix", *arguments],
                            capture_output=True, text=True, check=True).stdout
    # "name type value size"; a demangled name may have spaces of its own.
    for line in output.splitlines():
        match = re.match(r"^(.+?) ([A-Za-z]) [0-9a-f]+( [0-9a-f]*)?$", line)
        if match:
            yield match.group(1), match.group(2)


def declared(header):
    """The functions of the C interface: kvtier_name( outside comments, not a function pointer's type."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", pathlib.Path(header).read_text(), flags=re.S)
    return sorted(set(re.findall(r"\b(kvtier_[a-z0-9_]+)\s*\(", text)))


def exports(library, header=None):
    found = [re.sub(r"@.*$", "", name) for name, kind in nm("--dynamic", "--defined-only", library)
             if kind in "TWVBDRiu"]
    found = [name for name in found if not re.match(r"^KVTIER_\d+$", name)]
    problems = [f"exported, but not public: {name}" for name in found
                if not PUBLIC.match(name) or INSIDE.search(name)]
    if not found:
        problems.append(f"{library} exports nothing")
    problems += [f"declared in {header}, but not exported: {name}"
                 for name in (declared(header) if header else []) if name not in found]
    return problems, f"{len(found)} exported names, all of them public"


def main():
    problems, summary = exports(*sys.argv[1:])
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(f"{len(problems)} problems")
    print(summary)


if __name__ == "__main__":
    main()
