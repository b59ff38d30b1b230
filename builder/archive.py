"""A zip as a file: written in a fixed form, and read back.

Equal contents have equal bytes. What the platform and Python themselves read are files of the zip.
All else is in `packed.zip`, a zip that is stored in it, which `action/packed.py` reads.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import cast

import deflate

from builder.files import is_there, replacing
from builder.paths import DEFLATED

PACKED = "packed.zip"
DATE = (1980, 1, 1, 0, 0, 0)
MODE = 0o644
LEVEL = 12
"""libdeflate's best; a pinned version of it gives the same bytes on every host."""

_COMPRESSOR = f"deflate-{version('deflate')}-{LEVEL}"
_KEEP_FROM = 1 << 18


@dataclass(frozen=True)
class Entry:
    """One file of the zip.

    Attributes:
        path: in the zip, or in `packed.zip`.
        content: its bytes.
        part: name of the part that it belongs to.
        python: the Python version that its part is for; empty for what is for each.
        mode: its permissions.
        outside: whether it is a file of the zip itself.
        when: when the function reads it, if it is not `outside`.
    """

    path: str
    content: bytes
    part: str
    python: str = ""
    mode: int = MODE
    outside: bool = False
    when: str = "later"


@dataclass(frozen=True)
class Contents:
    """A zip that was read.

    Attributes:
        files: content by path, those in `packed.zip` among them, and that not.
        infos: their entries in the directories of the two zips.
        outside: the paths of the zip's own files, with `packed.zip`.
    """

    files: dict[str, bytes]
    infos: list[zipfile.ZipInfo]
    outside: list[str]


def write(
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
        return cast(bytes, deflate.deflate_compress(content, LEVEL))
    kept = DEFLATED / f"{hashlib.sha256(content).hexdigest()}-{_COMPRESSOR}"
    if not is_there(kept):
        with replacing(kept) as part:
            part.write_bytes(deflate.deflate_compress(content, LEVEL))
    return kept.read_bytes()


def read(path: Path) -> Contents:
    """Read all files of a zip.

    Raises:
        OSError: it cannot be read.
        zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError: it is not a
            complete zip, or has a `packed.zip` that is none.
    """
    files, infos = _files(path.read_bytes())
    outside = [info.filename for info in infos]
    if PACKED in files:
        inner, more = _files(files.pop(PACKED))
        files |= inner
        infos = [info for info in infos if info.filename != PACKED] + more
    return Contents(files, infos, outside)


def _files(content: bytes) -> tuple[dict[str, bytes], list[zipfile.ZipInfo]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        return {name: archive.read(name) for name in names}, archive.infolist()


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
