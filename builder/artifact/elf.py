"""Read a shared library (ELF): the libraries and symbols it needs, and how it was linked."""

import io
import re
from dataclasses import dataclass

from elftools.elf.elffile import ELFFile

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


def find_source_paths(content: bytes) -> set[str]:
    """Return the absolute paths of source files that are left in a binary."""
    return {path[:-1].decode() for path in _SOURCE_PATH.findall(content)}
