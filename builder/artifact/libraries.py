"""Check the zip's shared libraries: each must load in the runtime; ours are held to more."""

import re
from collections.abc import Collection, Iterator, Mapping

from builder.artifact import elf, modules, platform


def check_libraries(
    files: Mapping[str, bytes], python: str, compiled: Collection[str]
) -> tuple[list[str], dict[str, str]]:
    """Check the libraries of one Python version.

    Args:
        files: of the zip.
        python: the version.
        compiled: paths of what this project compiled.

    Returns:
        The problems, and per family ("GLIBC") the newest symbol version that any of them needs.
    """
    folder = modules.library_folder(python)
    paths = [path for path in files if path.startswith(folder) and modules.is_library(path)]
    bundled = {path.rpartition("/")[2] for path in paths}
    problems: list[str] = []
    newest: dict[str, str] = {}
    for path in paths:
        try:
            library = elf.read_library(files[path])
            found = [
                *_check_python_tag(path, python),
                *_check_loads(library, python, bundled),
                *(_check_compiled(library, files[path]) if path in compiled else ()),
            ]
        except ValueError as error:
            found = [f"not an ELF library: {error}"]
        else:
            for family, number in _split_versions(library, python):
                if _is_at_most(newest.get(family, "0"), number):
                    newest[family] = number
        problems += [f"{path}: {problem}" for problem in found]
    return problems, newest


def _check_python_tag(path: str, python: str) -> Iterator[str]:
    """Check the Python version in a library's name, if it has one."""
    tag = re.search(r"\.(cpython-\d+|abi3|cp\d+)[.-]", path)
    if tag and tag[1] not in ("abi3", f"cpython-{python.replace('.', '')}"):
        yield f"built for {tag[1]}, in the folder of Python {python}"


def _check_loads(library: elf.SharedLibrary, python: str, bundled: set[str]) -> Iterator[str]:
    """Check that the runtime of a Python version has what a library needs."""
    if library.machine != "EM_X86_64":
        yield f"expected x86_64, found {library.machine}"
    system = set(platform.table()["libraries"]["system"])
    for name in sorted(library.needed_libraries - system - bundled):
        yield f"needs {name}, which neither the zip nor the runtime has"
    ceilings = platform.table()["kinds"][f"python:{python}"]["symbols"]
    for family, number in _split_versions(library, python):
        if not _is_at_most(number, ceilings[family]):
            yield f"needs {family}_{number}, python:{python} has {family}_{ceilings[family]}"


def _check_compiled(library: elf.SharedLibrary, content: bytes) -> Iterator[str]:
    """Check what holds for libraries that this project compiled, but not for those of wheels."""
    allowed = set(platform.table()["libraries"]["compiled"])
    for name in sorted(library.needed_libraries - allowed):
        yield f"needs {name}: expected no more than {', '.join(sorted(allowed))}"
    for name in sorted(elf.find_exported_symbols(content)):
        if not name.startswith("PyInit_"):
            yield f"exports {name}: expected only PyInit_*"
    for path in sorted(library.run_paths):
        yield f"looks for libraries in {path}: expected no RPATH"
    if library.executable_stack:
        yield "asks for an executable stack"
    if not library.relro:
        yield "its relocated data stays writable: expected RELRO"
    for path in sorted(elf.find_source_paths(content)):
        yield f"contains the path {path} of the machine that compiled it"


def _split_versions(library: elf.SharedLibrary, python: str) -> list[tuple[str, str]]:
    """Return (family, version) of the symbols that the platform has a limit for."""
    ceilings = platform.table()["kinds"][f"python:{python}"]["symbols"]
    versions = [version.partition("_") for version in sorted(library.versioned_symbols)]
    return [
        (family, number)
        for family, _, number in versions
        if family in ceilings and number[:1].isdigit()
    ]


def _is_at_most(version: str, ceiling: str) -> bool:
    def split(text: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", text)]

    return split(version) <= split(ceiling)
