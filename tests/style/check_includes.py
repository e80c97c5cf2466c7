#!/usr/bin/env python3
"""Fails on an include that the dependency tables of docs/architecture.md do not have.

Two tables: `dependencies` (folder | may include) for the project's own folders, `third-party`
(library | headers | folders) for everyone else's. A folder may include itself and what its row names;
`*` is everything. A row for a folder that has rows below it covers only the files directly in it, so a new
folder needs a row of its own. The table itself must have no cycle.
Usage: check_includes.py ROOT
"""
import pathlib
import re
import sys

import tree

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(["<])([^">]+)[">]', re.M)
# Projects of their own inside the tree: they use kvtier from outside, as an installed package.
OUTSIDE = ("tests/consumer/", "tests/examples/")


class Table:
    def __init__(self, rows):
        self.allowed = {row[0].rstrip("/"): [n.rstrip("/") for n in tree.names(row[1])]
                        for row in rows}

    def folder_of(self, path):
        """The row that covers a file, or None."""
        folder = str(pathlib.PurePosixPath(path).parent)
        if folder in self.allowed:
            return folder
        while "/" in folder:
            folder = folder.rsplit("/", 1)[0]
            if folder in self.allowed:
                has_rows_below = any(row.startswith(folder + "/") for row in self.allowed)
                return None if has_rows_below else folder
        return None

    def permits(self, source, target):
        allowed = self.allowed[source]
        return source == target or "*" in allowed or target in allowed

    def problems(self):
        for folder, allowed in self.allowed.items():
            for name in allowed:
                if name != "*" and name not in self.allowed:
                    yield f"docs/architecture.md: row {folder} names {name}, which has no row"
        state = {}

        def visit(folder, path):
            if state.get(folder) == "done":
                return None
            if folder in path:
                return path[path.index(folder):] + [folder]
            for name in self.allowed.get(folder, []):
                cycle = visit(name, path + [folder]) if name in self.allowed else None
                if cycle:
                    return cycle
            state[folder] = "done"
            return None

        for folder in self.allowed:
            cycle = visit(folder, [])
            if cycle:
                yield "docs/architecture.md: a cycle: " + " -> ".join(cycle)
                return


def own_path(root, header):
    """The path in the tree of a header that is included as `header`, or None."""
    if header.startswith("kvtier/"):
        return "include/" + header
    return header if (root / header).is_file() else None


def check(root):
    text = (root / "docs/architecture.md").read_text()
    rows = tree.table(text, "dependencies")
    if not rows:
        yield "docs/architecture.md: no table between dependencies:begin and dependencies:end"
        return
    table = Table(rows)
    yield from table.problems()
    libraries = [(row[0], tree.names(row[1]), tree.names(row[2]))
                 for row in tree.table(text, "third-party") or []]

    for path in tree.files(root):
        if path.suffix not in tree.SOURCE_ENDINGS or str(path).startswith(OUTSIDE):
            continue
        source = table.folder_of(path)
        if source is None:
            yield f"{path}: its folder has no row in the table of docs/architecture.md"
            continue
        content = (root / path).read_text(errors="replace")
        for match in INCLUDE.finditer(content):
            line = content.count("\n", 0, match.start()) + 1
            where, quote, header = f"{path}:{line}", match.group(1), match.group(2)
            target_path = own_path(root, header)
            if quote == "<" and target_path:
                yield f'{where}: <{header}> is kvtier\'s own: write "{header}"'
            elif library_of(header, libraries):
                yield from check_library(where, path, header, libraries)
            elif quote == "<":
                continue
            elif target_path is None:
                yield f'{where}: "{header}" is not in the tree: paths begin at the root of the ' \
                      f'repository; a library\'s header stands in <>'
            else:
                target = table.folder_of(target_path)
                if target is None or not table.permits(source, target):
                    yield f'{where}: {source} may not include {target or target_path} ("{header}")'


def library_of(header, libraries):
    """The row of the third-party table that has this header, or None."""
    for row in libraries:
        if any(header == h or (h.endswith("/") and header.startswith(h)) for h in row[1]):
            return row
    return None


def check_library(where, path, header, libraries):
    library, _, folders = library_of(header, libraries)
    inside = any(f == "*" or str(path) == f or str(path).startswith(f.rstrip("/") + "/")
                 for f in folders)
    if not inside:
        yield f"{where}: {library} ({header}) belongs in {', '.join(folders)} only"


def main():
    problems = list(check(pathlib.Path(sys.argv[1]).resolve()))
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(f"{len(problems)} includes or rows are wrong; the table says which way they may go")
    print("every include is in the table")


if __name__ == "__main__":
    main()
