"""Check the zip's shared libraries (ELF): each must load in the runtime; ours are held to more."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from builder.artifact import modules, platform
from builder.packages.elf_editor import list_needed, list_symbols, open_library

# A source file's absolute path, as assertions and debug information leave it in a binary. Its slash
# comes first, then what must not be before it: so the search goes from slash to slash.
_SOURCE_PATH = re.compile(
    rb"/(?<![\w.]/)(?:[\w.+-]+/)+[\w.+-]+\.(?:c|cc|cpp|cxx|h|hpp|inc|S|pyx)\0"
)
_EXECUTABLE = 1  # PF_X


def check_libraries(
    files: Mapping[str, bytes], pythons: Sequence[str], compiled: Collection[str]
) -> list[str]:
    """Return the problems of each Python version's libraries.

    `compiled` are the paths of what this project compiled.
    """
    problems: list[str] = []
    for python in pythons:
        folder = modules.library_folder(python)
        paths = [path for path in files if path.startswith(folder) and modules.is_library(path)]
        bundled = {path.rpartition("/")[2] for path in paths}
        for path in paths:
            try:
                faults = [*_check_loads(path, files[path], python, bundled)]
                if path in compiled:
                    faults += _check_built(files[path])
            # What pyelftools raises for bytes that are no library is not documented.
            except Exception as error:
                faults = [f"not an ELF library: {error!r}"]
            problems += [f"{path}: {fault}" for fault in faults]
    return problems


def _check_loads(path: str, content: bytes, python: str, bundled: set[str]) -> Iterator[str]:
    """Yield what keeps the runtime of a Python version from loading a library."""
    elf = open_library(content)
    tag = re.search(r"\.(cpython-\d+|abi3|cp\d+)[.-]", path)
    if tag and tag[1] not in ("abi3", f"cpython-{python.replace('.', '')}"):
        yield f"built for {tag[1]}, in the folder of Python {python}"
    if elf["e_machine"] != "EM_X86_64":
        yield f"expected x86_64, found {elf['e_machine']}"
    system = set(platform.table()["libraries"]["system"])
    for name in sorted(list_needed(content) - system - bundled):
        yield f"needs {name}, which neither the zip nor the runtime has"
    versions = elf.get_section_by_name(".gnu.version_r")
    libraries = versions.iter_versions() if versions else ()
    ceilings = platform.kind_of(python)["symbols"]
    for symbol in sorted({each.name for _, symbols in libraries for each in symbols}):
        family = symbol.partition("_")[0]
        newest = f"{family}_{ceilings.get(family, '')}"
        if family in ceilings and _version_key(symbol) > _version_key(newest):
            yield f"needs {symbol}, python:{python} has {newest}"


def _check_built(content: bytes) -> Iterator[str]:
    """Yield what is wrong for a library that this project compiled, though not for a wheel's."""
    elf = open_library(content)
    allowed = platform.table()["libraries"]["compiled"]
    for name in sorted(list_needed(content).difference(allowed)):
        yield f"needs {name}: expected no more than {', '.join(sorted(allowed))}"
    for name in sorted(list_symbols(content, exported=True)):
        if not name.startswith("PyInit_"):
            yield f"exports {name}: expected only PyInit_*"
    dynamic = elf.get_section_by_name(".dynamic")
    run_paths = {tag.rpath for tag in dynamic.iter_tags("DT_RPATH")}
    for path in sorted(run_paths | {tag.runpath for tag in dynamic.iter_tags("DT_RUNPATH")}):
        yield f"looks for libraries in {path}: expected no RPATH"
    segments = {segment["p_type"]: segment["p_flags"] for segment in elf.iter_segments()}
    if segments.get("PT_GNU_STACK", _EXECUTABLE) & _EXECUTABLE:
        yield "asks for an executable stack"
    if "PT_GNU_RELRO" not in segments:
        yield "its relocated data stays writable: expected RELRO"
    for path in sorted(set(_SOURCE_PATH.findall(content))):
        yield f"contains the path {path[:-1].decode()} of the machine that compiled it"


def _version_key(symbol: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", symbol)]
