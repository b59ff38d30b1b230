"""Hash the files that decide what the recipe compiles, without their comments and layout.

A digest of some files is an input of each step; that of all names a finished runtime.
"""

import ast
import hashlib
import io
import re
import tokenize
from pathlib import Path

from builder.base.toml import read_toml
from builder.native.steps import RECIPE

# Files of the recipe that cannot change the result: what is fetched is verified by its sha256; the
# others order, run and report, or are tests.
WITHOUT_EFFECT = frozenset(
    {
        *("__init__.py", "__main__.py", "debian.py", "fetch.py", "steps.py", "requirements.in"),
        *("xnnpack/kernel_tests.py", "xnnpack/kernels/test-kernels.c"),
        "xnnpack/threads/test-tickets.c",
    }
)


def read_list(path: Path) -> list[str]:
    """Return the lines of a list in a text file, without comments and blank lines."""
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in bare if line]


def digest(*paths: Path) -> str:
    """Return one hash of files and of all files in folders: relative names and contents."""
    total = hashlib.sha256()
    for path in paths:
        for file in _effective_files(path) if path.is_dir() else [path]:
            total.update(f"{file.relative_to(path.parent).as_posix()}\0".encode())
            total.update(hashlib.sha256(effective_content(file)).digest())
    return total.hexdigest()


def effective_content(path: Path) -> bytes:
    """Return the content of a file without what its reader ignores.

    Python loses comments and docstrings, TOML is parsed, lists lose their comments, a patch its
    head. In other languages (C++, CMake, linker scripts) every byte counts.
    """
    if path.suffix == ".py":
        return _python_code(path.read_text("utf-8"))
    if path.suffix == ".toml":
        return repr(_sort_tables(read_toml(path))).encode()
    if path.suffix == ".txt" and path.name != "CMakeLists.txt":
        return "\n".join(read_list(path)).encode()
    content = path.read_bytes()
    if path.suffix == ".patch":
        return re.sub(rb"\A.*?^(?=--- )", b"", content, count=1, flags=re.DOTALL | re.MULTILINE)
    return content


def _effective_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.relative_to(RECIPE).as_posix() not in WITHOUT_EFFECT
    )


def _python_code(source: str) -> bytes:
    """Return Python without comments, docstrings and empty lines; the same on every Python."""
    rows = source.splitlines()
    texts = [
        (node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    comments = [
        (*token.start, *token.end)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    for first, begin, last, end in sorted(texts + comments, reverse=True):
        rows[first - 1 : last] = [rows[first - 1][:begin] + rows[last - 1][end:]]
    return "\n".join(row.rstrip() for row in rows if row.strip()).encode()


def _sort_tables(value: object) -> object:
    """Return TOML values with tables as sorted pairs: their order in the file means nothing."""
    if isinstance(value, dict):
        return sorted((key, _sort_tables(each)) for key, each in value.items())
    return [_sort_tables(each) for each in value] if isinstance(value, list) else value
