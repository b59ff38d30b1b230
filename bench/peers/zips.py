"""Writes the peers' zips from folders of installed packages and from files."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from builder.base.files import atomic_write


def zip_folder(folder: Path, archive: Path) -> None:
    """Zip all files in a folder."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(folder.rglob("*")):
            zipped.write(path, path.relative_to(folder))


def add_files(source: Path, files: dict[str, bytes], archive: Path) -> None:
    """Write a copy of a zip with more files in it; `exec` becomes executable."""
    with atomic_write(archive) as part:
        shutil.copyfile(source, part)
        with zipfile.ZipFile(part, "a") as zipped:
            for name, content in files.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (0o100755 if name == "exec" else 0o100644) << 16
                zipped.writestr(info, content)
