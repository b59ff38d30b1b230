"""The pictures that a benchmark sends, and the classes that are in them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from builder.artifact.smoke import SAMPLE
from builder.base.errors import BuildError


@dataclass(frozen=True)
class Pictures:
    """Pictures, in the order in which they are sent.

    Attributes:
        contents: file name -> bytes of the file.
        labels: file name -> index of the class in the picture, background as 0; may be empty.
    """

    contents: dict[str, bytes]
    labels: dict[str, int]


def load_pictures(folder: Path | None, labels: Path | None) -> Pictures:
    """Read a folder's JPEGs in order of their names, or the sample picture without a folder.

    Args:
        folder: has files *.jpg or *.jpeg, in any case.
        labels: TSV with a head: file name, and class index with background as 0.

    Raises:
        BuildError: no pictures, a malformed labels file, or one that names none of them.
    """
    if folder is None:
        return Pictures({SAMPLE.name: SAMPLE.read_bytes()}, {})
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise BuildError(f"--images: expected a folder with JPEGs, found none in {folder}")
    contents = {path.name: path.read_bytes() for path in files}
    by_name = _read_labels(labels) if labels else {}
    if labels and not by_name.keys() & contents.keys():
        raise BuildError(f"--labels: expected names of files in {folder}, found none in {labels}")
    return Pictures(contents, by_name)


def _read_labels(path: Path) -> dict[str, int]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t"))[1:]
        return {row[0]: int(row[1]) for row in rows if row}
    except (OSError, ValueError, IndexError) as error:
        raise BuildError(
            f"--labels: expected a TSV with a head: file name, class index; found {path}: {error}"
        ) from error
