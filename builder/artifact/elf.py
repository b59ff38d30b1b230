"""What the audit needs to know of a shared library."""

import io
import re
from dataclasses import dataclass

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

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
        versions: versioned symbols it needs, "GLIBC_2.14".
        exports: names of the symbols it offers to others; none unless they were asked for.
        search_paths: its RPATH and RUNPATH.
        executable_stack: whether it asks for one.
        relro: whether relocated data becomes read-only.
        source_paths: absolute paths of source files in it; likewise.
    """

    machine: str
    needed: frozenset[str]
    versions: frozenset[str]
    exports: frozenset[str]
    search_paths: frozenset[str]
    executable_stack: bool
    relro: bool
    source_paths: frozenset[str]


def read_library(content: bytes, whole: bool = True) -> SharedLibrary:
    """Read a shared library.

    Args:
        content: its bytes.
        whole: also `exports` and `source_paths`, which takes most of the time.

    Raises:
        ValueError: the bytes are no shared library.
    """
    try:
        return _read(content, whole)
    # What pyelftools raises for bytes that are none is not documented.
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _read(content: bytes, whole: bool) -> SharedLibrary:
    elf = ELFFile(io.BytesIO(content))
    needed: set[str] = set()
    versions: set[str] = set()
    exports: set[str] = set()
    search_paths: set[str] = set()
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.add(tag.needed)
                elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                    search_paths.add(getattr(tag, tag.entry.d_tag[3:].lower()))
        elif isinstance(section, GNUVerNeedSection):
            versions |= {aux.name for _, auxes in section.iter_versions() for aux in auxes}
        elif whole and isinstance(section, SymbolTableSection) and section.name == ".dynsym":
            exports |= {
                symbol.name
                for symbol in section.iter_symbols()
                if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] != "STB_LOCAL"
            }
    segments = {segment["p_type"]: segment["p_flags"] for segment in elf.iter_segments()}
    paths = _SOURCE_PATH.findall(content) if whole else []
    return SharedLibrary(
        machine=elf.header["e_machine"],
        needed=frozenset(needed),
        versions=frozenset(versions),
        exports=frozenset(exports),
        search_paths=frozenset(search_paths),
        executable_stack=bool(segments.get("PT_GNU_STACK", _EXECUTABLE) & _EXECUTABLE),
        relro="PT_GNU_RELRO" in segments,
        source_paths=frozenset(path[:-1].decode() for path in paths),
    )
