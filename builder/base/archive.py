"""A zip as a file: written in a fixed form, and read back.

Equal contents have equal bytes. What the platform and Python themselves read are files of the zip.
All else is in `packed.zip`, a zip that is stored in it, which `action/bootstrap.py` reads.
"""

import hashlib
import io
import os
import struct
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import cast

import deflate

from builder.base.files import cached
from builder.base.paths import BUILD

# Large files, deflated: most builds change none.
DEFLATED = BUILD / "deflated"
PACKED = "packed.zip"
DATE = (1980, 1, 1, 0, 0, 0)
MODE = 0o644
LEVEL = 12
"""libdeflate's best; a pinned version of it gives the same bytes on every host."""

MOST_UNPACKED = 1 << 29
"""Bytes of all files of a zip that is read: many times what any of ours has."""
_UTF8 = 0x800
"""In an entry's flags: its name is UTF-8."""

_COMPRESSOR = f"deflate-{version('deflate')}-{LEVEL}"
_KEEP_FROM = 1 << 18


@dataclass(frozen=True)
class Entry:
    """One file of the zip.

    Attributes:
        path: in the zip, or in `packed.zip`.
        content: its bytes.
        component: name of the component that it belongs to.
        python: the Python version that its component is for; empty for what is for each.
        mode: its permissions.
        outside: whether it is a file of the zip itself.
        when: when the function reads it, if it is not `outside`.
    """

    path: str
    content: bytes
    component: str
    python: str = ""
    mode: int = MODE
    outside: bool = False
    when: str = "later"


@dataclass(frozen=True)
class ZipContents:
    """A zip that was read.

    Attributes:
        files: content by path, those in `packed.zip` among them, and that not.
        infos: their entries in the directories of the two zips.
        outside: the paths of the zip's own files, with `packed.zip`.
        foreign: where the two zips' bytes are not those that `write_zip` would have written.
    """

    files: dict[str, bytes]
    infos: list[zipfile.ZipInfo]
    outside: list[str]
    foreign: list[str]


def write_zip(
    entries: Sequence[Entry],
    deflates: Callable[[Entry], bool],
    target: Path,
    advance: Callable[[int, int | None], None],
) -> None:
    """Write the zip: same entries, same bytes, on any host and at any time.

    Order, dates, modes and compression are fixed.

    Args:
        entries: the files.
        deflates: whether to deflate one, or else to store it.
        target: the file to write.
        advance: told the bytes done and the total.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    entries = sorted(entries, key=lambda entry: entry.path)
    total = sum(len(entry.content) for entry in entries)
    done = 0

    def fill(file: io.BufferedIOBase, some: Sequence[Entry]) -> None:
        nonlocal done
        with zipfile.ZipFile(file, "w") as archive:
            for entry in some:
                packed = deflated(entry.content) if deflates(entry) else None
                _add(archive, entry, packed)
                if entry.path != PACKED:
                    done += len(entry.content)
                    advance(done, total)

    inside = [entry for entry in entries if not entry.outside]
    outside = [entry for entry in entries if entry.outside]
    if inside:
        buffer = io.BytesIO()
        fill(buffer, inside)
        outside.append(Entry(PACKED, buffer.getvalue(), "", outside=True))
    with target.open("wb") as file:
        fill(file, sorted(outside, key=lambda entry: entry.path))
        file.flush()
        os.fsync(file.fileno())


def deflated(content: bytes) -> bytes:
    """The content compressed; that of large files is kept, since most builds change none."""
    if len(content) < _KEEP_FROM:
        return _deflated(content)
    path = DEFLATED / f"{hashlib.sha256(content).hexdigest()}-{_COMPRESSOR}"
    return cached(path, lambda: _compress(content))


@lru_cache(512)  # asked for when it is planned, and when it is written, twice
def _deflated(content: bytes) -> bytes:
    return _compress(content)


def _compress(content: bytes) -> bytes:
    return cast(bytes, deflate.deflate_compress(content, LEVEL))


def read_zip(path: Path) -> ZipContents:
    """Read all files of a zip.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a complete zip, or has a `packed.zip` that is none.
    """
    files, infos, foreign = _files(path.read_bytes(), "the zip")
    outside = [info.filename for info in infos]
    if PACKED in files:
        inner, more, also = _files(files.pop(PACKED), PACKED)
        files |= inner
        infos = [info for info in infos if info.filename != PACKED] + more
        foreign += also
    return ZipContents(files, infos, outside, foreign)


def _files(content: bytes, title: str) -> tuple[dict[str, bytes], list[zipfile.ZipInfo], list[str]]:
    """Return a zip's files, its directory, and where its bytes are not as `write_zip` has them."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
    # What Python's reader raises for bytes that are no zip is not documented.
    except Exception as error:
        raise ValueError(f"{title}: {error or type(error).__name__}") from error
    total = sum(info.file_size for info in infos)
    if total > MOST_UNPACKED:
        raise ValueError(f"{title} unpacks to {total} bytes, expected {MOST_UNPACKED} at most")
    files: dict[str, bytes] = {}
    parts: list[bytes] = []
    directory: list[bytes] = []
    at = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        name = _name(info)
        start = info.header_offset + 30 + len(name)
        data = content[start : start + info.compress_size]
        if not info.filename.endswith("/"):
            files[info.filename] = _inflated(info, data, title)
        local, central = _headers(info, name, at)
        parts += [local, data]
        directory.append(central)
        at += len(local) + len(data)
    listing = b"".join(directory)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *[len(infos)] * 2, len(listing), at, 0)
    wanted = b"".join([*parts, listing, end])
    if wanted == content:
        return files, infos, []
    lengths = range(1, min(len(wanted), len(content)) + 1)
    where = bisect_left(lengths, True, key=lambda length: wanted[:length] != content[:length])
    return files, infos, [f"{title}: a byte at {where} is none that belongs to a file or its entry"]


def _inflated(info: zipfile.ZipInfo, data: bytes, title: str) -> bytes:
    """The content of one file; raises ValueError if it is not whole."""
    problem = ""
    if info.compress_type == zipfile.ZIP_DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(data, info.file_size + 1)
        except zlib.error as error:
            problem = str(error)
        if not inflater.eof or inflater.unused_data:
            problem = problem or "more or less is compressed than its size says"
    elif info.compress_type != zipfile.ZIP_STORED:
        problem = f"compression method {info.compress_type}"
    if not problem and (len(data) != info.file_size or zlib.crc32(data) != info.CRC):
        problem = "its size or checksum is another"
    if problem:
        raise ValueError(f"{title}: {info.filename} is not whole: {problem}")
    return data


def _name(info: zipfile.ZipInfo) -> bytes:
    encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
    return info.orig_filename.encode(encoding, "replace")


def _headers(info: zipfile.ZipInfo, name: bytes, offset: int) -> tuple[bytes, bytes]:
    """An entry's local and central header, as `write_zip` has them (APPNOTE.TXT 4.3.7, 4.3.12)."""
    flags = 0 if name.isascii() else _UTF8
    date = (DATE[0] - 1980) << 9 | DATE[1] << 5 | DATE[2]
    common = (flags, info.compress_type, 0, date, info.CRC, info.compress_size, info.file_size)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, *common, len(name), 0)
    central = struct.pack("<4sBB5H3L", b"PK\1\2", 20, 3, 20, *common)
    mode = info.external_attr & 0xFFFF0000
    central += struct.pack("<5H2L", len(name), 0, 0, 0, 0, mode, offset)
    return local + name, central + name


class _Compressed:
    """Data that is compressed already, in the place of zlib's compressor in `zipfile`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def compress(self, data: bytes) -> bytes:
        return b""

    def flush(self) -> bytes:
        return self._data


def _add(archive: zipfile.ZipFile, entry: Entry, compressed: bytes | None) -> None:
    info = zipfile.ZipInfo(entry.path, DATE)
    info.create_system = 3  # Unix, so that the modes count, on Windows too
    info.external_attr = (0o100000 | entry.mode) << 16
    info.file_size = len(entry.content)
    if compressed is not None:
        info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w") as file:
        if compressed is not None:
            # zipfile has no public way to choose the compressor; the audit reads every byte back.
            file._compressor = _Compressed(compressed)  # type: ignore[attr-defined]
        file.write(entry.content)
