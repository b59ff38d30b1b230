"""What of the recipe's files decides the result: everything but comments and layout.

A digest of it is an input of each step, and names a finished runtime.
"""

import ast
import hashlib
import io
import re
import sys
import tokenize
from pathlib import Path
from typing import Any

from builder.native.steps import HERE

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib  # Python 3.10 has none of its own

WITHOUT_EFFECT = frozenset(
    {
        *("__init__.py", "__main__.py", "debian.py", "fetch.py", "steps.py", "requirements.in"),
        *("variants.py", "xnnpack/check.py", "xnnpack/kernels/test-kernels.c"),
    }
)
"""Files of the recipe that cannot change what comes out: what is fetched is proved by its sha256,
the others order, run and report, or are there for tests."""


def toml(path: Path) -> dict[str, Any]:
    """A TOML file as plain values."""
    with path.open("rb") as file:
        return tomllib.load(file)


def files(folder: Path = HERE) -> list[Path]:
    """The files of a folder of the recipe that decide the result, in a fixed order."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.relative_to(HERE).as_posix() not in WITHOUT_EFFECT
    )


def digest(*paths: Path) -> str:
    """One hash of files, and of all files in folders: their relative names and what they mean."""
    total = hashlib.sha256()
    for path in paths:
        for file in files(path) if path.is_dir() else [path]:
            total.update(f"{file.relative_to(path.parent).as_posix()}\0".encode())
            total.update(hashlib.sha256(meaning(file)).digest())
    return total.hexdigest()


def meaning(path: Path) -> bytes:
    """The content of a file without what its reader ignores.

    Python loses comments and docstrings, TOML is parsed, lists lose their comments, a patch its
    head. Of other languages (C++, CMake, linker scripts) every byte counts.
    """
    content = path.read_bytes()
    if path.suffix == ".py":
        return _code(content.decode())
    if path.suffix == ".toml":
        return repr(_sorted(toml(path))).encode()
    if path.suffix == ".txt" and path.name != "CMakeLists.txt":
        return "\n".join(lines(content.decode())).encode()
    if path.suffix == ".patch":
        return re.sub(rb"\A.*?^(?=--- )", b"", content, count=1, flags=re.DOTALL | re.MULTILINE)
    return content


def lines(text: str) -> list[str]:
    """The lines of a list in a text file, without comments and what surrounds them."""
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in bare if line]


def _code(source: str) -> bytes:
    """Python without comments, docstrings and empty lines; the same on every Python."""
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


def _sorted(value: object) -> object:
    """Tables as sorted pairs: their order in the file means nothing."""
    if isinstance(value, dict):
        return sorted((key, _sorted(each)) for key, each in value.items())
    return [_sorted(each) for each in value] if isinstance(value, list) else value
