"""Write a zip in a fixed form, and read one back.

Equal contents have equal bytes, on any host and at any time. What the platform and Python itself
read are files of the zip. All else is in `packed.zip`, a zip stored in it, which
`action/bootstrap.py` reads.
"""

import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import cast

import deflate

from builder.base.files import cached
from builder.base.paths import BUILD

PACKED = "packed.zip"
DATE = (1980, 1, 1, 0, 0, 0)
MODE = 0o644

# libdeflate's best; a pinned version of it gives the same bytes on every host.
_LEVEL = 12
_COMPRESSOR = f"deflate-{version('deflate')}-{_LEVEL}"
# Large files, deflated: most builds change none.
DEFLATED = BUILD / "deflated"
_CACHED_SIZE = 1 << 18

# A zip that is read may not be larger, in all of its files or in itself: many times what ours are.
MAX_BYTES = 1 << 29
MAX_ENTRIES = 2000


@dataclass(frozen=True)
class Entry:
    """One file of the zip.

    Attributes:
        path: in the zip, or in `packed.zip`.
        content: its bytes.
        component: name of the component that it belongs to.
        python: the Python version that its component is for; empty for all versions.
        mode: its permissions.
        outside: whether it is a file of the zip itself, not of `packed.zip`.
        when: when the function reads a file of `packed.zip`: "start", "ahead" (a thread inflates it
            while modules are imported) or "later".
        compressed: the content deflated; None to store it as it is.
    """

    path: str
    content: bytes
    component: str
    python: str = ""
    mode: int = MODE
    outside: bool = False
    when: str = "later"
    compressed: bytes | None = None


@dataclass(frozen=True)
class ZipContents:
    """A zip that was read.

    Attributes:
        files: path -> content, of the zip itself and of its `packed.zip`.
        infos: the entries of both zips' directories.
        outside: paths of the zip's own files, `packed.zip` among them.
        canonical: whether `write_zip` would write both zips with the very same bytes.
    """

    files: dict[str, bytes]
    infos: list[zipfile.ZipInfo]
    outside: list[str]
    canonical: bool


def compress(content: bytes) -> bytes:
    """Deflate a file's content; large results are cached on disk."""
    if len(content) < _CACHED_SIZE:
        return _deflate(content)
    path = DEFLATED / f"{hashlib.sha256(content).hexdigest()}-{_COMPRESSOR}"
    return cached(path, lambda: _deflate(content))


def _deflate(content: bytes) -> bytes:
    return cast(bytes, deflate.deflate_compress(content, _LEVEL))


def write_zip(entries: Sequence[Entry], target: Path) -> None:
    """Write the zip, with its `packed.zip` if there are entries for it.

    Order, dates and modes are fixed.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    inside = [entry for entry in entries if not entry.outside]
    outside = [entry for entry in entries if entry.outside]
    if inside:
        outside.append(Entry(PACKED, _write_archive(inside), "", outside=True))
    with target.open("wb") as file:
        file.write(_write_archive(outside))
        file.flush()
        os.fsync(file.fileno())


def _write_archive(entries: Sequence[Entry]) -> bytes:
    """Return a zip with these entries, sorted by their paths."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry in sorted(entries, key=lambda entry: entry.path):
            info = zipfile.ZipInfo(entry.path, DATE)
            info.external_attr = (0o100000 | entry.mode) << 16
            info.file_size = len(entry.content)
            if entry.compressed is not None:
                info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w") as file:
                if entry.compressed is not None:
                    # zipfile has no public way to choose the compressor; the audit reads it back.
                    file._compressor = _Compressed(entry.compressed)  # type: ignore[attr-defined]
                file.write(entry.content)
    return buffer.getvalue()


class _Compressed:
    """Compressed data in place of a compressor of `zipfile`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def compress(self, data: bytes) -> bytes:
        return b""

    def flush(self) -> bytes:
        return self._data


def read_zip(path: Path) -> ZipContents:
    """Read all files of a zip, and of the `packed.zip` in it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a complete zip, or is too large to be one of ours.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    outer = _read_archive(path.read_bytes())
    outside = [info.filename for info in outer.infos]
    if PACKED not in outer.files:
        return outer
    inner = _read_archive(outer.files.pop(PACKED))
    if twice := inner.files.keys() & outer.files.keys():
        raise ValueError(f"{min(twice)} is there twice")
    infos = [info for info in outer.infos if info.filename != PACKED] + inner.infos
    canonical = outer.canonical and inner.canonical
    return ZipContents(outer.files | inner.files, infos, outside, canonical)


def _read_archive(content: bytes) -> ZipContents:
    """Read one zip; raises ValueError if it is not a complete one."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
        if len(infos) > MAX_ENTRIES or sum(info.file_size for info in infos) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_ENTRIES} files or {MAX_BYTES} bytes of them")
        names = [info.filename for info in infos]
        folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
        if len(set(names)) < len(names) or folders & set(names):
            raise ValueError("it has two files, or a file and a folder, of one name")
        entries = [_read_entry(content, info) for info in infos]
        canonical = _write_archive(entries) == content
    # What Python's reader raises for bytes that are no zip is not documented.
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return ZipContents({each.path: each.content for each in entries}, infos, names, canonical)


def _read_entry(content: bytes, info: zipfile.ZipInfo) -> Entry:
    """Read one file of a zip; raises ValueError if it is not whole."""
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename} is encrypted")
    lengths = struct.unpack_from("<2H", content, info.header_offset + 26)  # APPNOTE.TXT 4.3.7
    start = info.header_offset + 30 + sum(lengths)
    data = content[start : start + info.compress_size]
    compressed = None
    if info.compress_type == zipfile.ZIP_DEFLATED:
        compressed = data
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        data = inflater.decompress(compressed, info.file_size + 1)
        if not inflater.eof or inflater.unused_data:
            raise ValueError(f"{info.filename}: its compressed data is longer or shorter")
    elif info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename}: compression method {info.compress_type}")
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise ValueError(f"{info.filename}: size or checksum differ")
    mode = (info.external_attr >> 16) & 0o7777
    return Entry(info.filename, data, "", mode=mode, compressed=compressed)
