"""What the style checks share: the files of the tree, and reading tables out of Markdown.

Reads only. Standard library only. The files are git's (tracked, or new and not ignored); in a copy without
git, everything but build/.
"""
import pathlib
import re
import subprocess

SOURCE_ENDINGS = (".cpp", ".hpp", ".h", ".c")


def files(root):
    """Paths below root, relative to it, sorted."""
    listed = subprocess.run(
        ["git", "-C", str(root), "-c", "safe.directory=*", "ls-files", "-z", "--cached",
         "--others", "--exclude-standard"], capture_output=True, check=False)
    if listed.returncode == 0 and (root / ".git").exists():
        names = listed.stdout.decode().split("\0")
        found = [pathlib.PurePosixPath(name) for name in names if name]
    else:
        found = [pathlib.PurePosixPath(path.relative_to(root)) for path in root.rglob("*")
                 if not {"build", ".git", "__pycache__"} & set(path.relative_to(root).parts)]
    return sorted(path for path in set(found)
                  if (root / path).is_file() and not (root / path).is_symlink())


def table(text, name):
    """Rows (lists of cells without back-ticks) of the table between the comments name:begin and name:end."""
    match = re.search(rf"<!-- {name}:begin -->(.*?)<!-- {name}:end -->", text, re.S)
    if not match:
        return None
    rows = []
    for line in match.group(1).strip().splitlines():
        if not line.startswith("|"):
            continue
        rows.append([cell.strip().replace("`", "") for cell in line.strip("| \t").split("|")])
    return rows[2:]  # the heading and the line under it


def names(cell):
    """The names in one cell; a dash or nothing is none."""
    return [name for name in re.split(r"[,\s]+", cell) if name and name not in ("-", "—", "none")]
