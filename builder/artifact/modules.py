"""The layout of modules in `packed.zip`, which `action/bootstrap.py` reads.

Each Python version has a folder `lib/X.Y/` with libraries and:

PART.code        the stream of those modules of a part that each start imports: the code objects,
                 marshalled
PART.later.code  that of its other modules
index.json       "modules": a module's name -> [is it a package, its source's name in tracebacks,
                 which stream, offset in it, length]; "libraries": an extension module's name -> its
                 file, and what else it loads; "ahead": what to extract in a thread; "magic": of
                 Python's code files, in hexadecimal, or empty if the streams have sources
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

INDEX = "index.json"
START = Path(__file__).with_name("start.txt")
"""The modules that a cold start imports, one a line, those of the standard library among them."""
_CODE = 16
"""Where the code begins in a code file (PEP 552)."""


def library_folder(python: str) -> str:
    """Where a Python version has its modules and libraries: "3.11" -> "lib/3.11/"."""
    return f"lib/{python}/"


@cache
def list_start_modules() -> frozenset[str]:
    """The modules that a cold start imports."""
    lines = START.read_text("utf-8").splitlines()
    return frozenset(line.split()[0] for line in lines if line and not line.startswith("#"))


def is_library(path: str) -> bool:
    """Whether a file is a shared library, by its name; extension modules are."""
    return re.search(r"\.so(\.[\d.]+)?$", path) is not None


def is_extension(path: str) -> bool:
    """Whether a file is an extension module, which Python loads; of other libraries the names
    begin with "lib", and extension modules load them.
    """
    return path.endswith(".so") and not path.rpartition("/")[2].startswith("lib")


class Index:
    """The modules of one Python version; grows part by part."""

    def __init__(self) -> None:
        self._magic = ""
        self._modules: dict[str, list[Any]] = {}
        self._libraries: dict[str, list[str]] = {}

    def add_modules(self, part: str, codes: Mapping[str, tuple[str, bytes]]) -> dict[str, bytes]:
        """Add a part's modules.

        Args:
            part: its name.
            codes: path from the import root, "PIL/Image.py" -> (the source's name in tracebacks,
                the content of the code file).

        Returns:
            The streams to put into `folder`, by file name.
        """
        streams: dict[str, bytes] = {}
        for path, (shown, content) in sorted(codes.items()):
            name = path.removesuffix(".py").replace("/", ".")
            package = name.endswith(".__init__")
            name = name.removesuffix(".__init__")
            stream = part if name in list_start_modules() else f"{part}.later"
            code, self._magic = content[_CODE:], content[:4].hex()
            before = streams.get(f"{stream}.code", b"")
            self._modules[name] = [package, shown, stream, len(before), len(code)]
            streams[f"{stream}.code"] = before + code
        return streams

    def add_sources(self, part: str, sources: Mapping[str, tuple[str, bytes]]) -> dict[str, bytes]:
        """The same with sources in the place of code files: where no Python compiles them."""
        headless = {path: (shown, bytes(_CODE) + text) for path, (shown, text) in sources.items()}
        streams = self.add_modules(part, headless)
        self._magic = ""
        return streams

    def add_library(self, path: str, beside: Sequence[str]) -> str:
        """Add an extension module; returns its name.

        Args:
            path: of its file, from the import root.
            beside: paths of the libraries that it may load.
        """
        where, _, file = path.rpartition("/")
        name = f"{where}/{file.partition('.')[0]}".replace("/", ".").lstrip(".")
        self._libraries[name] = [path, *beside]
        return name

    def content(self, ahead: Sequence[str]) -> bytes:
        """The index as a file.

        Args:
            ahead: paths in `packed.zip` of what to inflate in a thread, in this order.
        """
        index = {
            "magic": self._magic,
            "ahead": list(ahead),
            "modules": self._modules,
            "libraries": self._libraries,
        }
        return json.dumps(index, separators=(",", ":")).encode()


def read_index(files: Mapping[str, bytes], python: str) -> tuple[int, list[str]]:
    """What the index of a Python version says, held against the files that it names.

    Args:
        files: of `packed.zip`.
        python: the version.

    Returns:
        The first two bytes of the code files' magic number (0 for sources), and the modules' names.

    Raises:
        ValueError: it does not read, or a file that it names is not there, or too short.
    """
    where = library_folder(python)
    try:
        index = json.loads(files[where + INDEX])
        magic = int.from_bytes(bytes.fromhex(index["magic"])[:2], "little")
        needed = {f"{where}{path}": 0 for paths in index["libraries"].values() for path in paths}
        needed |= dict.fromkeys(index["ahead"], 0)
        for _, _, stream, offset, length in index["modules"].values():
            path = f"{where}{stream}.code"
            needed[path] = max(needed.get(path, 0), offset + length)
        names = [*index["modules"], *index["libraries"]]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where}{INDEX} does not read: {type(error).__name__} {error}") from error
    for path, least in needed.items():
        if path not in files:
            raise ValueError(f"{where}{INDEX} names {path}, which is not there")
        if len(files[path]) < least:
            raise ValueError(f"{path} is not whole: expected {least} bytes")
    return magic, names


def list_indexed_files(files: Mapping[str, bytes], python: str) -> set[str]:
    """The paths that belong to a Python version: its index, and what that names; none if it has not
    one that reads.
    """
    try:
        read_index(files, python)
    except ValueError:
        return set()
    where = library_folder(python)
    index = json.loads(files[where + INDEX])
    paths = {f"{where}{path}" for paths in index["libraries"].values() for path in paths}
    streams = {f"{where}{module[2]}.code" for module in index["modules"].values()}
    return {where + INDEX, *paths, *streams}
