"""Check the zip's shared libraries (ELF): each must load in the runtime; ours are held to more."""

import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from elftools.elf.elffile import ELFFile

from builder.artifact import modules, platform
from builder.packages.elf_editor import list_symbols

# A source file's absolute path, as assertions and debug information leave it in a binary. Its slash
# comes first, then what must not be before it: so the search goes from slash to slash.
_SOURCE_PATH = re.compile(
    rb"/(?<![\w.]/)(?:[\w.+-]+/)+[\w.+-]+\.(?:c|cc|cpp|cxx|h|hpp|inc|S|pyx)\0"
)
_EXECUTABLE = 1  # PF_X


@dataclass(frozen=True)
class SharedLibrary:
    """A shared library.

    Attributes:
        machine: as in its header, "EM_X86_64".
        needed: names of the libraries it loads.
        versioned_symbols: versions of symbols it needs, "GLIBC_2.14".
        run_paths: its RPATH and RUNPATH.
        executable_stack: whether it asks for one.
        relro: whether relocated data becomes read-only.
    """

    machine: str
    needed: set[str]
    versioned_symbols: set[str]
    run_paths: set[str]
    executable_stack: bool
    relro: bool


def read_library(content: bytes) -> SharedLibrary:
    """Read a shared library; raise ValueError if the bytes are not one."""
    try:
        elf = ELFFile(io.BytesIO(content))
        segments = {segment["p_type"]: segment["p_flags"] for segment in elf.iter_segments()}
        dynamic = elf.get_section_by_name(".dynamic")
        versions = elf.get_section_by_name(".gnu.version_r")
        needed = versions.iter_versions() if versions else ()
        return SharedLibrary(
            machine=elf.header["e_machine"],
            needed={tag.needed for tag in dynamic.iter_tags("DT_NEEDED")},
            versioned_symbols={symbol.name for _, symbols in needed for symbol in symbols},
            run_paths={tag.rpath for tag in dynamic.iter_tags("DT_RPATH")}
            | {tag.runpath for tag in dynamic.iter_tags("DT_RUNPATH")},
            executable_stack=bool(segments.get("PT_GNU_STACK", _EXECUTABLE) & _EXECUTABLE),
            relro="PT_GNU_RELRO" in segments,
        )
    # What pyelftools raises for bytes that are no library is not documented.
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def check_libraries(
    files: Mapping[str, bytes], pythons: Sequence[str], compiled: Collection[str]
) -> tuple[list[str], dict[str, str]]:
    """Check the libraries of each Python version.

    `compiled` are the paths of what this project compiled.

    Returns:
        The problems, and per family ("GLIBC") the newest symbol version that any of them needs.
    """
    problems: list[str] = []
    newest: dict[str, str] = {}
    for python in pythons:
        folder = modules.library_folder(python)
        paths = [path for path in files if path.startswith(folder) and modules.is_library(path)]
        bundled = {path.rpartition("/")[2] for path in paths}
        for path in paths:
            try:
                library = read_library(files[path])
            except ValueError as error:
                problems.append(f"{path}: not an ELF library: {error}")
                continue
            faults = [*_check_loads(path, library, python, bundled)]
            if path in compiled:
                faults += _check_built(library, files[path])
            problems += [f"{path}: {fault}" for fault in faults]
            for family, version in _split_versions(library, python):
                newest[family] = max(newest.get(family, "0"), version, key=_version_key)
    return problems, newest


def _check_loads(
    path: str, library: SharedLibrary, python: str, bundled: set[str]
) -> Iterator[str]:
    """Yield what keeps the runtime of a Python version from loading a library."""
    tag = re.search(r"\.(cpython-\d+|abi3|cp\d+)[.-]", path)
    if tag and tag[1] not in ("abi3", f"cpython-{python.replace('.', '')}"):
        yield f"built for {tag[1]}, in the folder of Python {python}"
    if library.machine != "EM_X86_64":
        yield f"expected x86_64, found {library.machine}"
    system = set(platform.table()["libraries"]["system"])
    for name in sorted(library.needed - system - bundled):
        yield f"needs {name}, which neither the zip nor the runtime has"
    ceilings = platform.kind_of(python)["symbols"]
    for family, version in _split_versions(library, python):
        if _version_key(version) > _version_key(ceilings[family]):
            yield f"needs {family}_{version}, python:{python} has {family}_{ceilings[family]}"


def _check_built(library: SharedLibrary, content: bytes) -> Iterator[str]:
    """Yield what is wrong for a library that this project compiled, though not for a wheel's."""
    allowed = platform.table()["libraries"]["compiled"]
    for name in sorted(library.needed.difference(allowed)):
        yield f"needs {name}: expected no more than {', '.join(sorted(allowed))}"
    for name in sorted(list_symbols(content, exported=True)):
        if not name.startswith("PyInit_"):
            yield f"exports {name}: expected only PyInit_*"
    for path in sorted(library.run_paths):
        yield f"looks for libraries in {path}: expected no RPATH"
    if library.executable_stack:
        yield "asks for an executable stack"
    if not library.relro:
        yield "its relocated data stays writable: expected RELRO"
    for path in sorted(set(_SOURCE_PATH.findall(content))):
        yield f"contains the path {path[:-1].decode()} of the machine that compiled it"


def _split_versions(library: SharedLibrary, python: str) -> Iterator[tuple[str, str]]:
    """Yield family and version of the needed symbols that the platform has a limit for."""
    ceilings = platform.kind_of(python)["symbols"]
    for symbol in sorted(library.versioned_symbols):
        family, _, version = symbol.partition("_")
        if family in ceilings and version[:1].isdigit():
            yield family, version


def _version_key(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
