"""The layout of modules in `packed.zip`, which `action/bootstrap.py` reads.

Each Python version has a folder `lib/X.Y/` with libraries and:

COMPONENT.code        the stream of those modules of a component that each start imports: the code
                      objects, marshalled
COMPONENT.later.code  the stream of its other modules
index.json            an `Index`
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from builder.artifact import action_files
from builder.artifact.bytecode import compile_modules
from builder.base.archive import Entry
from builder.base.cpython import PythonExecutable
from builder.packages import INTERPRETERS, Runtime

INDEX = "index.json"
# The modules that a cold start imports, one a line, those of the standard library among them.
START = Path(__file__).with_name("start.txt")
# Where the code begins in a code file (PEP 552).
_HEADER_BYTES = 16
_DISTRIBUTIONS = [package.distribution for package in INTERPRETERS]


@dataclass(frozen=True)
class PythonRuntime:
    """What one Python version needs.

    Attributes:
        packages: the interpreter, numpy and Pillow.
        compiler: the Python that byte-compiles the modules; without one they ship as sources,
            which is correct but slower to start.
    """

    packages: Runtime
    compiler: PythonExecutable | None

    @property
    def python(self) -> str:
        """The version, as "3.11"."""
        return self.packages.python


@dataclass
class Index:
    """The index of one Python version: its modules and extension modules by name.

    Attributes:
        magic: of Python's code files, in hexadecimal; empty if the streams have sources.
        ahead: files to extract in a thread, in order.
        modules: is it a package, its source's name in tracebacks, its stream, offset in that,
            length.
        libraries: its file, and the libraries that it loads.
    """

    magic: str = ""
    ahead: list[str] = field(default_factory=list)
    modules: dict[str, list[Any]] = field(default_factory=dict)
    libraries: dict[str, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """The names of all modules."""
        return {*self.modules, *self.libraries}

    def to_json(self) -> bytes:
        """Return the index as the file that ships."""
        return json.dumps(vars(self), separators=(",", ":")).encode()


def read_index(files: Mapping[str, bytes], python: str) -> Index:
    """Read the index of a Python version from a zip's files.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: there is none that `to_json` wrote.
    """
    return Index(**json.loads(files[library_folder(python) + INDEX]))


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


def pack_modules(runtime: PythonRuntime, precompiled: bool, weights: str) -> Iterator[Entry]:
    """Yield the libraries and modules, ours too, for one Python version, and their index.

    `weights` is the path of the model's file in the zip.
    """
    index, folder = Index(), library_folder(runtime.python)
    codes = _read_modules(runtime, precompiled)
    for name in action_files.BOOT_FILES:
        code = codes.pop(f"action/{name}", None)
        if code and runtime.compiler:
            tag = f"cpython-{runtime.python.replace('.', '')}"
            cached = f"action/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
            yield Entry(cached, code, "action", outside=True)
    if runtime.compiler:
        index.magic = next(iter(codes.values()))[:4].hex()
        codes = {filename: code[_HEADER_BYTES:] for filename, code in codes.items()}
    yield from _pack_code(runtime, codes, index)
    # The weights first: they take longest, and all else is imported in the meantime.
    index.ahead.append(weights)
    yield from _pack_libraries(runtime, index)
    yield Entry(folder + INDEX, index.to_json(), "action", when="start")


def _read_modules(runtime: PythonRuntime, precompiled: bool) -> dict[str, bytes]:
    """Return the code files, or sources without a compiler, by the sources' names in tracebacks."""
    packages = runtime.packages
    sources = {
        f"action/{path.name}": path
        for path in action_files.list_files(precompiled)
        if path.suffix == ".py" and path.name != "__main__.py"
    }
    for path in sorted(path for path in packages.owner if path.endswith(".py")):
        sources[library_folder(runtime.python) + path] = packages.folder / path
    if runtime.compiler:
        return compile_modules(runtime.compiler, sources)
    return {filename: path.read_bytes() for filename, path in sources.items()}


def _module_name(path: str) -> str:
    """Return a module's name; `path` counts from the import root."""
    folder, _, file = path.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}".replace("/", ".").lstrip(".")


def _pack_code(runtime: PythonRuntime, codes: dict[str, bytes], index: Index) -> Iterator[Entry]:
    """Yield the streams of code, component by component, and add their modules to the index."""
    folder, owner = library_folder(runtime.python), runtime.packages.owner
    owners = {filename: owner.get(filename.removeprefix(folder), "action") for filename in codes}
    components = list(dict.fromkeys(["action", *owner.values()]))
    streams: dict[str, bytes] = {}
    for filename in sorted(codes, key=lambda each: (components.index(owners[each]), each)):
        name = _module_name(filename.removeprefix(folder))
        package, name = name.endswith(".__init__"), name.removesuffix(".__init__")
        stream = owners[filename] + ("" if name in list_start_modules() else ".later")
        before = streams.get(stream, b"")
        index.modules[name] = [package, filename, stream, len(before), len(codes[filename])]
        streams[stream] = before + codes[filename]
    for stream, content in streams.items():
        component, _, later = stream.partition(".")
        version, when = "" if component == "action" else runtime.python, later or "start"
        yield Entry(f"{folder}{stream}.code", content, component, version, when=when)


def _pack_libraries(runtime: PythonRuntime, index: Index) -> Iterator[Entry]:
    """Yield the files that are no Python modules, and add extension modules to the index."""
    folder, owner = library_folder(runtime.python), runtime.packages.owner
    paths = sorted(path for path in owner if not path.endswith(".py"))
    for path in paths:
        when = "start"
        if is_extension(path):
            of_component = [each for each in paths if owner[each] == owner[path]]
            linked = [each for each in of_component if is_library(each) and not is_extension(each)]
            name = _module_name(path)
            index.libraries[name] = [path, *linked]
            when = "start" if name in list_start_modules() else "later"
        if owner[path] in _DISTRIBUTIONS:
            when = "ahead"
            index.ahead.append(folder + path)
        content = (runtime.packages.folder / path).read_bytes()
        yield Entry(folder + path, content, owner[path], runtime.python, when=when)
