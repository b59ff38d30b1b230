"""The peers' packages: installed with pip or npm once, and zipped with a peer's own files."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.peers.peer import PACKAGES, ZIPS
from builder.base.environments import print_progress
from builder.base.errors import BuildError
from builder.base.files import atomic_write, lock


def run_installer(command: Sequence[str | Path], title: str, folder: Path | None = None) -> str:
    """Run pip, npm or a converter in a folder; return its output. Raises BuildError if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        output = (done.stdout + done.stderr).strip()[-500:]
        raise BuildError(
            f"{title} failed: {output}",
            "check the network and the settings of pip and npm, then run this again",
        )
    return done.stdout


def zip_packages(name: str, key: bytes, install: Callable[[Path], None]) -> Path:
    """Return a zip of what `install` puts into an empty folder, kept under a hash of `key`."""
    archive = PACKAGES / f"{name}-{hashlib.sha256(key).hexdigest()[:12]}.zip"
    with lock(archive, f"installing {name}", print_progress):
        if not archive.exists():
            with (
                atomic_write(archive) as part,
                tempfile.TemporaryDirectory(prefix="peer-", dir=archive.parent) as scratch,
            ):
                install(Path(scratch))
                with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as zipped:
                    for path in sorted(Path(scratch).rglob("*")):
                        zipped.write(path, path.relative_to(scratch))
    return archive


def add_files(packages: Path, files: dict[str, bytes]) -> Path:
    """Return a copy of a zip of packages with more files, kept under a hash of both.

    A file `exec` becomes executable.
    """
    key = hashlib.sha256(packages.name.encode())
    for name, content in files.items():
        key.update(f"\n{name} {hashlib.sha256(content).hexdigest()}".encode())
    archive = ZIPS / f"{packages.stem}-{key.hexdigest()[:12]}.zip"
    if archive.exists():
        return archive
    with atomic_write(archive) as part:
        shutil.copyfile(packages, part)
        with zipfile.ZipFile(part, "a") as zipped:
            for name, content in files.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (0o100755 if name == "exec" else 0o100644) << 16
                zipped.writestr(info, content)
    return archive
