"""Edit shared libraries (ELF, x86_64): load fewer others, contain less that nothing reads.

The layout of the file stays: entries are overwritten in their places. "System V Application Binary
Interface", chapter "Dynamic Linking", describes them.
"""

from __future__ import annotations

import io
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Set

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

# A call or jump to an address that is relative to the next instruction.
_CALL = re.compile(rb"(?:[\xe8\xe9]|\x0f[\x80-\x8f]|\xff[\x15\x25])(?=(.{4}))", re.DOTALL)
_JUMP_SLOT = 7  # R_X86_64_JUMP_SLOT
_ANY_VERSION = 1  # VER_NDX_GLOBAL
_SYMBOL_BYTES = 24  # of an entry in the table of symbols
# What is called in place of a function that is gone: a call must not go unnoticed.
_STOP = "abort"


def open_library(content: bytes) -> ELFFile:
    """Return a library for reading; raise ValueError if it is none."""
    try:
        return ELFFile(io.BytesIO(content))
    except Exception as error:  # what pyelftools raises is not documented
        raise ValueError(f"not an ELF library: {error}") from error


def list_needed(content: bytes) -> set[str]:
    """Return the names of the libraries that a library loads."""
    dynamic = open_library(content).get_section_by_name(".dynamic")
    return {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}


def list_symbols(content: bytes, exported: bool) -> set[str]:
    """Return the names of the symbols that a library offers, or else of those that it needs."""
    symbols = open_library(content).get_section_by_name(".dynsym").iter_symbols()
    return {
        each.name
        for each in symbols
        if exported == (each["st_shndx"] != "SHN_UNDEF")
        and each["st_info"]["bind"] != "STB_LOCAL"  # of this library alone
    }


def find_callers(content: bytes, symbols: Set[str]) -> dict[str, set[str]]:
    """Return which functions refer to symbols of other libraries: symbol -> names of functions.

    Raises:
        ValueError: a symbol's address is stored, so that what calls it cannot be told; or nothing
            is found that calls it, or the library does not name its functions.
    """
    elf = open_library(content)
    targets = dict(_find_call_targets(elf, symbols))
    named = elf.get_section_by_name(".symtab")
    functions = sorted(
        (each["st_value"], each.name)
        for each in (named.iter_symbols() if named else ())
        if each["st_info"]["type"] == "STT_FUNC" and each["st_value"]
    )
    callers: dict[str, set[str]] = {symbol: set() for symbol in symbols}
    for place, target in _find_calls(elf, in_plt=False):
        if target in targets:
            index = bisect_right(functions, (place, "\uffff")) - 1
            callers[targets[target]].add(functions[index][1] if index >= 0 else "?")
    if missing := sorted(symbol for symbol, names in callers.items() if not names):
        raise ValueError(f"nothing is found that calls {missing[0]}")
    return callers


def _find_call_targets(elf: ELFFile, symbols: Set[str]) -> Iterator[tuple[int, str]]:
    """Yield address -> symbol: where its address is stored, and the code that jumps there."""
    names = [symbol.name for symbol in elf.get_section_by_name(".dynsym").iter_symbols()]
    slots: dict[int, str] = {}
    for section in elf.iter_sections("SHT_RELA"):
        for relocation in section.iter_relocations():
            name = names[relocation["r_info_sym"]]
            if name in symbols and relocation["r_info_type"] != _JUMP_SLOT:
                raise ValueError(f"the address of {name} is stored")
            if name in symbols:
                slots[relocation["r_offset"]] = name
    yield from slots.items()
    for place, target in _find_calls(elf, in_plt=True):
        if target in slots:
            yield place & ~15, slots[target]  # an entry has 16 bytes


def _find_calls(elf: ELFFile, in_plt: bool) -> Iterator[tuple[int, int]]:
    """Yield place and target of all that may be a call, in the linkage table or outside of it."""
    for section in elf.iter_sections("SHT_PROGBITS"):
        is_code = section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR
        if is_code and section.name.startswith(".plt") == in_plt:
            address = section["sh_addr"]
            for match in _CALL.finditer(section.data()):
                (distance,) = struct.unpack("<i", match[1])
                yield address + match.start(), address + match.end() + 4 + distance


def remove_needed(
    content: bytes, libraries: Set[str], symbols: Set[str], replacements: Mapping[str, str]
) -> bytes:
    """Return a library that no longer loads some others.

    Args:
        content: the library.
        libraries: names of those that it is not to load.
        symbols: what it needs from them.
        replacements: symbol -> another that the library needs, to use in its place. All others
            are replaced by `abort`.

    Raises:
        ValueError: its tables are not as linkers write them, or it does not need a replacement.
    """
    elf, data = open_library(content), bytearray(content)
    removed = _remove_versions(elf, data, libraries)
    dynamic = elf.get_section_by_name(".dynamic")
    offset, size, entries, unused = dynamic["sh_offset"], dynamic["sh_size"], b"", 0
    for tag in dynamic.iter_tags():
        number, value = struct.unpack_from("<qQ", content, offset)
        offset += 16
        if getattr(tag, "needed", "") in libraries:
            unused = value
            continue
        value -= removed if tag.entry.d_tag == "DT_VERNEEDNUM" else 0
        entries += struct.pack("<qQ", number, value)
    start = dynamic["sh_offset"]
    data[start : start + size] = entries.ljust(size, b"\0")
    _rename_symbols(elf, data, {name: replacements.get(name, _STOP) for name in symbols}, unused)
    return bytes(data)


def _remove_versions(elf: ELFFile, data: bytearray, libraries: Set[str]) -> int:
    """Remove the versions that are needed of some libraries; return of how many."""
    section = elf.get_section_by_name(".gnu.version_r")
    if section is None:
        return 0
    removed, offset, last = 0, section["sh_offset"], 0
    for needed, _ in section.iter_versions():
        if needed.name in libraries:
            if not last:
                raise ValueError("the first of its versions is one of a library to remove")
            step = offset + needed["vn_next"] - last if needed["vn_next"] else 0
            struct.pack_into("<I", data, last + 12, step)
            removed += 1
        else:
            last = offset
        offset += needed["vn_next"]
    header = elf["e_shoff"] + elf["e_shentsize"] * elf.get_section_index(section.name)
    struct.pack_into("<I", data, header + 44, section["sh_info"] - removed)
    return removed


def _rename_symbols(elf: ELFFile, data: bytearray, names: Mapping[str, str], unused: int) -> None:
    """Give symbols other names; `unused` is the place of a library's name that may be replaced."""
    table = elf.get_section_by_name(".dynsym")
    places = {each.name: each["st_name"] for each in table.iter_symbols()}
    if _STOP not in places:
        places[_STOP] = unused
        start = elf.get_section_by_name(".dynstr")["sh_offset"] + unused
        data[start : start + len(_STOP) + 1] = _STOP.encode() + b"\0"
    versions = elf.get_section_by_name(".gnu.version")
    for index, symbol in enumerate(table.iter_symbols()):
        if new := names.get(symbol.name):
            if new not in places:
                raise ValueError(f"its replacement for {symbol.name}, {new}, is not used so far")
            struct.pack_into("<I", data, table["sh_offset"] + _SYMBOL_BYTES * index, places[new])
            if versions:
                struct.pack_into("<H", data, versions["sh_offset"] + 2 * index, _ANY_VERSION)


def zero_unloaded(content: bytes) -> bytes:
    """Return a library with zeros for what is never loaded: debug information and local names."""
    elf, data = open_library(content), bytearray(content)
    for index, section in enumerate(elf.iter_sections()):
        loaded = section["sh_flags"] & SH_FLAGS.SHF_ALLOC
        kept = loaded or section["sh_type"] == "SHT_NOBITS" or index == elf["e_shstrndx"]
        if not kept:
            offset, size = section["sh_offset"], section["sh_size"]
            data[offset : offset + size] = bytes(size)
    return bytes(data)
