"""Find the .tflite file for --model: a path, or a model of the catalogue, downloaded if needed."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from builder.base import files
from builder.base.console import Console
from builder.base.download import download_file
from builder.base.errors import DownloadError, ModelError
from builder.base.files import sha256_of
from builder.base.package_index import IndexFile, download_from_index
from builder.base.paths import DOWNLOADS, WORK
from builder.model import known_models

FETCHED = WORK / "model"


@dataclass(frozen=True)
class ModelFile:
    """A model's file.

    Attributes:
        path: of the .tflite file.
        name: in the catalogue; empty for a file that is not one of its models.
        sha256: of the file.
        entry: of the catalogue; empty for a file that is not one of its models.
        instead_of: the default's name, if that could not be downloaded; else empty.
    """

    path: Path
    name: str
    sha256: str
    entry: dict[str, Any] = field(default_factory=dict)
    instead_of: str = ""


def find_model(
    wanted: str | None,
    console: Console,
    catalogue: dict[str, Any] | None = None,
    folder: Path = FETCHED,
) -> ModelFile:
    """Return the model file for --model, downloading it if needed.

    Args:
        wanted: a name in the catalogue, a path, or None for the default: the catalogue's first
            model or, if that cannot be downloaded, the second one, with a warning.
        console: shows downloads and warnings.
        catalogue: in place of `model/catalogue.toml`.
        folder: where the catalogue's models are kept.

    Raises:
        ModelError: there is no such model.
        DownloadError: it could not be downloaded.
    """
    catalogue = known_models() if catalogue is None else catalogue
    if wanted is None:
        return _find_default(catalogue, console, folder)
    if wanted in catalogue:
        return _find_in_catalogue(wanted, catalogue[wanted], console, folder)
    path = Path(wanted)
    if not path.is_file():
        raise ModelError(
            f"--model: expected one of {', '.join(catalogue)} or a .tflite file, found {wanted!r}",
            "check the name; a path is taken from the current folder",
        )
    digest = sha256_of(path)
    name = next((name for name, entry in catalogue.items() if entry["sha256"] == digest), "")
    return ModelFile(path, name, digest, catalogue.get(name, {}))


def _find_default(catalogue: dict[str, Any], console: Console, folder: Path) -> ModelFile:
    first, *others = catalogue
    try:
        return _find_in_catalogue(first, catalogue[first], console, folder)
    except DownloadError as error:
        if not others:
            raise
        console.warn(
            f"Could not download {first}; using {others[0]}, which has other classes.",
            reminder=f"This is {others[0]}, not {first}, which could not be downloaded "
            f"(--model {first} says why). Its classes have other numbers.",
        )
        console.notes.append(f"{error}\n{error.hint}")
    spare = _find_in_catalogue(others[0], catalogue[others[0]], console, folder)
    return replace(spare, instead_of=first)


def _find_in_catalogue(
    name: str, entry: dict[str, Any], console: Console, folder: Path
) -> ModelFile:
    """Return a catalogue's model, downloaded if needed; raise ModelError if its sha256 differs."""
    path: Path = folder / entry["file"]
    if not files.file_exists(path):
        with files.lock(path, f"downloading {name}", console.note):
            if not files.file_exists(path):
                _download_model(name, entry, path, console)
    digest = sha256_of(path)
    if digest != entry["sha256"]:
        raise ModelError(
            f"{folder.name}/{path.name}: expected sha256 {entry['sha256']}, found {digest}",
            f"delete it to download {name} again, or use it as it is with "
            f"--model {quote(str(path))}",
        )
    return ModelFile(path, name, digest, entry)


def _download_model(name: str, entry: dict[str, Any], path: Path, console: Console) -> None:
    """Put a catalogue's model at `path`, from the first of its sources that works."""
    reasons = []
    for source in entry["sources"]:
        try:
            archive = _download_source(source, console)
        except DownloadError as error:
            reasons.append(f"  {error}")
        else:
            _extract_member(archive, source["member"], path)
            archive.unlink()
            return
    raise DownloadError(
        f"{name} could not be downloaded:\n" + "\n".join(reasons),
        f"to use {name} all the same: put the file with sha256 {entry['sha256']} at "
        f"{path.parent.name}/{path.name}, or pass any copy with --model PATH. Another model of "
        "model/catalogue.toml may be downloadable: --model NAME",
    )


def _download_source(source: dict[str, str], console: Console) -> Path:
    if "index" in source:
        name, _, version = source["index"].partition("==")
        package = IndexFile(name, version, source["file"], source["sha256"])
        return download_from_index([package], DOWNLOADS, console)[0]
    # Kept under its hash: two addresses may serve different files under one name.
    path = DOWNLOADS / f"{source['sha256'][:12]}-{source['url'].rpartition('/')[2]}"
    return download_file(source["url"], source["sha256"], path, console)


def _extract_member(archive: Path, member: str, path: Path) -> None:
    """Copy a file to `path` from a tar archive whose sha256 was checked."""
    with tarfile.open(archive) as tar:
        [info] = [info for info in tar if f"/{info.name}".endswith(f"/{member}")]
        file = tar.extractfile(info)
        assert file is not None
        with files.atomic_write(path) as part:
            part.write_bytes(file.read())
