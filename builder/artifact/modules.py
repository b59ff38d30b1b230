"""The layout of modules in `packed.zip`, which `action/bootstrap.py` reads.

Each Python version has a folder `lib/X.Y/` with libraries and:

COMPONENT.code        the stream of those modules of a component that each start imports: the code
                      objects, marshalled
COMPONENT.later.code  the stream of its other modules
index.json            "modules": a module's name -> [is it a package, its source's name in
                      tracebacks, its stream, offset in that, length]; "libraries": an extension
                      module's name -> its file, and the libraries that it loads; "ahead": files to
                      extract in a thread; "magic": of Python's code files, in hexadecimal, or empty
                      if the streams have sources
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

INDEX = "index.json"
# The modules that a cold start imports, one a line, those of the standard library among them.
START = Path(__file__).with_name("start.txt")
# Where the code begins in a code file (PEP 552).
_HEADER_BYTES = 16


@dataclass(frozen=True)
class IndexedFiles:
    """What the index of a Python version names.

    Attributes:
        magic: the first two bytes of the code files' magic number; 0 for sources.
        modules: names of all modules.
        paths: the index itself, the libraries, and the streams.
    """

    magic: int
    modules: tuple[str, ...]
    paths: frozenset[str]


def library_folder(python: str) -> str:
    """Return where a Python version has its modules and libraries: "3.11" -> "lib/3.11/"."""
    return f"lib/{python}/"


@cache
def list_start_modules() -> frozenset[str]:
    """Return the modules that a cold start imports."""
    lines = START.read_text("utf-8").splitlines()
    return frozenset(line.split()[0] for line in lines if line and not line.startswith("#"))


def is_library(path: str) -> bool:
    """Return whether a file's name is that of a shared library or extension module."""
    return re.search(r"\.so(\.[\d.]+)?$", path) is not None


def is_extension(path: str) -> bool:
    """Return whether a file's name is that of an extension module; not "libNAME.so"."""
    return path.endswith(".so") and not path.rpartition("/")[2].startswith("lib")


def is_linked_library(path: str) -> bool:
    """Return whether a file's name is that of a library which extension modules load."""
    return is_library(path) and not is_extension(path)


class Index:
    """The modules and libraries of one Python version; grows module by module.

    Attributes:
        streams: content of the streams by file name in `library_folder`.
    """

    def __init__(self, compiled: bool) -> None:
        """Start an empty index; without `compiled`, modules are added as sources."""
        self.streams: dict[str, bytes] = {}
        self._compiled = compiled
        self._magic = ""
        self._modules: dict[str, list[Any]] = {}
        self._libraries: dict[str, list[str]] = {}

    def add_module(self, path: str, component: str, shown: str, content: bytes) -> None:
        """Add a module.

        Its path counts from the import root; `shown` is its source's name in tracebacks.
        """
        if self._compiled:
            self._magic, content = content[:4].hex(), content[_HEADER_BYTES:]
        name = path.removesuffix(".py").replace("/", ".")
        package = name.endswith(".__init__")
        name = name.removesuffix(".__init__")
        stream = component if name in list_start_modules() else f"{component}.later"
        before = self.streams.get(f"{stream}.code", b"")
        self.streams[f"{stream}.code"] = before + content
        self._modules[name] = [package, shown, stream, len(before), len(content)]

    def add_library(self, path: str, linked: Sequence[str]) -> str:
        """Add an extension module and the libraries that it may load; return its name."""
        folder, _, file = path.rpartition("/")
        name = f"{folder}/{file.partition('.')[0]}".replace("/", ".").lstrip(".")
        self._libraries[name] = [path, *linked]
        return name

    def to_json(self, ahead: Sequence[str]) -> bytes:
        """Return the index as a file; `ahead` are the files to inflate in a thread, in order."""
        index = {
            "magic": self._magic,
            "ahead": list(ahead),
            "modules": self._modules,
            "libraries": self._libraries,
        }
        return json.dumps(index, separators=(",", ":")).encode()


def read_index(files: Mapping[str, bytes], python: str) -> IndexedFiles:
    """Read the index of a Python version, and check that the files it names are whole.

    Raises:
        ValueError: it cannot be read, or a file that it names is missing or too short.
    """
    folder = library_folder(python)
    try:
        index = json.loads(files[folder + INDEX])
        magic = int.from_bytes(bytes.fromhex(index["magic"])[:2], "little")
        needed = {f"{folder}{path}": 0 for paths in index["libraries"].values() for path in paths}
        for _, _, stream, offset, length in index["modules"].values():
            path = f"{folder}{stream}.code"
            needed[path] = max(needed.get(path, 0), offset + length)
        ahead = dict.fromkeys(index["ahead"], 0)
        names = (*index["modules"], *index["libraries"])
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{folder}{INDEX} cannot be read: {type(error).__name__} {error}"
        ) from error
    for path, size in {**ahead, **needed}.items():
        if path not in files:
            raise ValueError(f"{folder}{INDEX} names {path}, which is missing")
        if len(files[path]) < size:
            raise ValueError(f"{path} is truncated: expected {size} bytes")
    return IndexedFiles(magic, names, frozenset({folder + INDEX, *needed}))
