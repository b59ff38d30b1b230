"""Find the model that was asked for: in the catalogue, fetched if it is not there, or a file."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from builder.base import files
from builder.base.console import Console
from builder.base.download import IndexFile, download_file, download_from_index
from builder.base.errors import DownloadError, ModelError
from builder.base.files import sha256_of
from builder.base.paths import DOWNLOADS, WORK
from builder.model import known_models

FETCHED = WORK / "model"


@dataclass(frozen=True)
class Found:
    """A model's file.

    Attributes:
        path: of the .tflite file.
        name: in the catalogue; empty for a file that is not one of its models.
        entry: of the catalogue; empty likewise.
        sha256: of the file.
    """

    path: Path
    name: str
    sha256: str
    entry: dict[str, Any] = field(default_factory=dict)


def find(
    wanted: str | None,
    console: Console,
    catalogue: dict[str, Any] | None = None,
    folder: Path = FETCHED,
) -> Found:
    """Have the file of the model that `--model` names.

    Args:
        wanted: a name in the catalogue, a path, or None for the default: the catalogue's first
            model, or, where that cannot be downloaded, its next, said aloud.
        console: shows what is going on.
        catalogue: another catalogue than `model/catalogue.toml`.
        folder: where the catalogue's models are kept.

    Raises:
        ModelError: no such model.
        DownloadError: it could not be fetched.
    """
    known = known_models() if catalogue is None else catalogue
    if wanted is None:
        name, path = _default(known, folder, console)
        return Found(path, name, known[name]["sha256"], known[name])
    if wanted in known:
        path = _fetch(wanted, known[wanted], folder, console)
        return Found(path, wanted, known[wanted]["sha256"], known[wanted])
    path = Path(wanted)
    if not path.is_file():
        raise ModelError(
            f"--model: expected one of {', '.join(known)} or a .tflite file, found {wanted!r}"
            + (", a folder" if path.is_dir() else ""),
            "check the name; a path is taken from the current folder",
        )
    digest = sha256_of(path)
    name = next((name for name, entry in known.items() if entry["sha256"] == digest), "")
    return Found(path, name, digest, known.get(name, {}))


def _default(known: dict[str, Any], folder: Path, console: Console) -> tuple[str, Path]:
    first, *others = known
    try:
        return first, _fetch(first, known[first], folder, console)
    except DownloadError as error:
        if not others:
            raise
        console.warn(f"{first} is not to be had, going on with {others[0]} instead.")
        console.warn(str(error))
        console.warn(error.hint)
    return others[0], _fetch(others[0], known[others[0]], folder, console)


def _fetch(name: str, entry: dict[str, Any], folder: Path, console: Console) -> Path:
    """Have the catalogue's model `name` in `folder`, and prove that it is the pinned one."""
    target: Path = folder / entry["file"]
    if not files.file_exists(target):
        with files.lock(target, f"fetching {name}", console.note):
            if not files.file_exists(target):
                return _fetch_anew(name, entry, target, console)
    found = sha256_of(target)
    if found != entry["sha256"]:
        raise ModelError(
            f"{folder.name}/{target.name}: expected sha256 {entry['sha256']}, found {found}",
            f"delete it to fetch {name} anew, or use it as it is with --model {quote(str(target))}",
        )
    return target


def _fetch_anew(name: str, entry: dict[str, Any], target: Path, console: Console) -> Path:
    how = (
        f"to use {name} all the same: put the file with sha256 {entry['sha256']} at "
        f"{target.parent.name}/{target.name}, or pass any copy with --model PATH"
    )
    reasons = []
    for source in entry["sources"]:
        try:
            _take(_download(source, console), source.get("member", ""), entry["sha256"], target)
            return target
        except DownloadError as error:
            reasons.append(f"  {error}")
    raise DownloadError(f"{name} could not be downloaded:\n" + "\n".join(reasons), how)


def _download(source: dict[str, str], console: Console) -> Path:
    if "index" in source:
        name, _, version = source["index"].partition("==")
        package = IndexFile(name, version, source["file"], source["sha256"])
        return download_from_index([package], DOWNLOADS, console)[0]
    # Kept under its hash: two addresses may serve different files under one name.
    target = DOWNLOADS / f"{source['sha256'][:12]}-{source['url'].rpartition('/')[2]}"
    return download_file([source["url"]], source["sha256"], target, console)


def _take(archive: Path, member: str, sha256: str, target: Path) -> None:
    """Move the model out of the downloaded file to `target`, if it has the right sha256."""
    try:
        with files.atomic_write(target) as part:
            part.write_bytes(_member(archive, member) if member else archive.read_bytes())
            found = sha256_of(part)
            if found != sha256:
                raise DownloadError(
                    f"{member or archive.name}: expected sha256 {sha256}, found {found}"
                )
    finally:
        archive.unlink(missing_ok=True)


def _member(archive: Path, member: str) -> bytes:
    try:
        with tarfile.open(archive) as tar:
            for info in tar:
                if info.isfile() and ("/" + info.name).endswith("/" + member):
                    file = tar.extractfile(info)
                    assert file is not None
                    return file.read()
    except (tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{archive.name} is not a tar archive") from error
    raise DownloadError(f"{archive.name} holds no {member}")
