"""The size suite: bytes and files of what is deployed."""

from __future__ import annotations

import zipfile
from pathlib import Path

from bench.results import Size
from bench.session import Session
from builder.artifact import platform


def measure_size(session: Session) -> None:
    """Fill the run's `size`."""
    for peer in session.peers:
        size = session.run.size[peer.name] = size_of_zip(peer.archive)
        if not peer.info.is_image:
            size.over_limit = max(0, size.zip - platform.zip_limit())


def size_of_zip(archive: Path) -> Size:
    """Return the size of a zip and of its files."""
    with zipfile.ZipFile(archive) as zipped:
        files = [info for info in zipped.infolist() if not info.is_dir()]
    unpacked = sum(info.file_size for info in files)
    return Size(zip=archive.stat().st_size, unpacked=unpacked, files=len(files))
