"""Extract a source's archive."""

import re
import tarfile
import zipfile
from pathlib import Path


def extract(archive: Path, folder: Path, prefixes: tuple[str, ...]) -> None:
    """Extract an archive without its only top folder; links that lead out of it are left out.

    Args:
        archive: a wheel or a tar file, however compressed.
        folder: gets the content.
        prefixes: beginnings of the paths to extract; empty for all.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
        return
    with tarfile.open(archive) as tar:
        members = [m for m in tar if m.isfile() or m.issym()]
        names = [re.sub(r"^\./", "", m.name) for m in members]
        has_top_folder = len({name.split("/")[0] for name in names}) == 1
        for member, name in zip(members, names, strict=True):
            path = name.partition("/")[2] if has_top_folder else name
            if ".." in path.split("/") or (prefixes and not path.startswith(prefixes)):
                continue
            if member.issym() and (member.linkname.startswith("/") or ".." in member.linkname):
                continue
            member.name = path
            member.mode |= 0o600
            tar.extract(member, folder)
