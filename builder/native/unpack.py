"""Unpack a source's archive, and patch it."""

import re
import tarfile
import zipfile
from pathlib import Path

from builder.native.toolchain import Toolchain


def unpack(archive: Path, folder: Path, wanted: tuple[str, ...]) -> None:
    """Unpack, without the archive's only top folder; of links only those within the archive.

    Args:
        archive: a wheel or a tar file, however compressed.
        folder: gets its content.
        wanted: how the paths begin that are unpacked; empty for all.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
        return
    with tarfile.open(archive) as tar:
        members = [m for m in tar if m.isfile() or m.issym()]
        names = [re.sub(r"^\./", "", m.name) for m in members]
        only_top = len({name.split("/")[0] for name in names}) == 1
        for member, name in zip(members, names, strict=True):
            path = name.partition("/")[2] if only_top else name
            if ".." in path.split("/") or (wanted and not path.startswith(wanted)):
                continue
            if member.issym() and (member.linkname.startswith("/") or ".." in member.linkname):
                continue
            member.name = path
            member.mode |= 0o600
            tar.extract(member, folder)


def apply(toolchain: Toolchain, patch: Path, folder: Path) -> None:
    """Apply a patch: exactly, or not at all.

    Raises:
        BuildError: a part of it does not fit.
    """
    command = ["patch", "-p1", "--fuzz=0", "-i", str(patch)]
    toolchain.run(command, f"src/{folder.name}", cwd=folder)
