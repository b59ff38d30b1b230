"""Byte-compile files for the Python that runs this script: the zip's, not the builder's.

Reads a JSON list of [source, its name in tracebacks] from stdin. Writes each code file after its
length in four bytes, little-endian. The code files are "unchecked-hash" (PEP 552): OpenWhisk's
unzip does not restore dates, so dated ones would be stale.
"""

import ast
import importlib.util
import json
import marshal
import sys
from pathlib import Path

_UNCHECKED_HASH = 1


def compile_source(source: bytes, filename: str) -> bytes:
    """Return the content of a code file.

    Docstrings, a third of such files, become empty strings, so that code which works on its own
    still does; assertions stay.
    """
    tree = ast.parse(source, filename)
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False):
            node.body[0].value.value = ""  # type: ignore[attr-defined]
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little")
    compiled = compile(tree, filename, "exec", dont_inherit=True, optimize=0)
    return header + importlib.util.source_hash(source) + marshal.dumps(compiled)


for path, name in json.load(sys.stdin):
    try:
        content = compile_source(Path(path).read_bytes(), name)
    except SyntaxError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(len(content).to_bytes(4, "little") + content)
