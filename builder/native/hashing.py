"""Hash the files that decide what the recipe compiles.

A digest of some files is an input of each step; that of the whole recipe names a finished runtime.
"""

import hashlib
import re
from pathlib import Path


def read_list(path: Path) -> list[str]:
    """Return the lines of a list in a text file, without comments and blank lines."""
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in bare if line]


def digest(*paths: Path) -> str:
    """Return one hash of files and of all files in folders: relative names and contents."""
    total = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                total.update(f"{file.relative_to(path.parent).as_posix()}\0".encode())
                total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()
