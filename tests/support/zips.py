"""Zips like ours with something else in them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from builder.base.archive import DATE, PACKED

Files = dict[str, bytes]
OUTSIDE = ("action/__init__.py", "action/bootstrap.py", "action/launcher.py")
INSIDE = ("LICENSES.txt", "manifest.json", "sbom.cdx.json")


def inside(name: str) -> bool:
    """Whether a file of ours is in `packed.zip`; others are not."""
    own = name.startswith("action/") and name not in OUTSIDE and "__pycache__" not in name
    return own or name.startswith(("lib/", "model/")) or name in INSIDE


def write(
    files: Files,
    path: Path,
    mode: int = 0o100644,
    executable: int = 0,
    forced: Mapping[str, str] | None = None,
) -> Path:
    """Write a zip, all files with one mode, but for `exec`, and most of them in `packed.zip`.

    `forced` says of names whether they are "inside" that or "outside".
    """
    where = {name: "inside" if inside(name) else "outside" for name in files} | dict(forced or {})
    packed = io.BytesIO()
    inner = {name: content for name, content in files.items() if where[name] == "inside"}
    _write(inner, packed, mode)
    outer = {name: content for name, content in files.items() if where[name] == "outside"}
    content = io.BytesIO()
    _write({**outer, PACKED: packed.getvalue()}, content, mode, executable)
    path.write_bytes(content.getvalue())
    return path


def _write(files: Files, target: io.BytesIO, mode: int, executable: int = 0) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, DATE)
            info.create_system = 3
            info.external_attr = (executable if name == "exec" and executable else mode) << 16
            archive.writestr(info, content)
