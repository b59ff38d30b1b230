"""The size suite: bytes and files of each zip, and bytes by package of ours."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from bench.peers.peer import Peer
from bench.results import Run, Size
from builder.artifact import audit, platform


def measure_size(peers: Sequence[Peer], run: Run) -> None:
    """Fill the run's `size`."""
    for peer in peers:
        size = run.size[peer.name] = size_of_zip(peer.archive)
        if not peer.info.is_image:
            size.over_limit = max(0, size.zip - platform.zip_limit())
        if peer.info.is_ours:
            components = audit.audit_zip(peer.archive).components
            size.components = {each.name: each.packed for each in components}


def size_of_zip(archive: Path) -> Size:
    """Return the size of a zip and of its files."""
    with zipfile.ZipFile(archive) as zipped:
        files = [info for info in zipped.infolist() if not info.is_dir()]
    unpacked = sum(info.file_size for info in files)
    return Size(zip=archive.stat().st_size, unpacked=unpacked, files=len(files))
