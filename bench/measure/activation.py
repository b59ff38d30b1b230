"""The pictures of a benchmark, and one timed activation of an action with one of them."""

from __future__ import annotations

import base64
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.errors import BuildError


@dataclass(frozen=True)
class Pictures:
    """The pictures to send.

    Attributes:
        contents: file name -> bytes of the file.
        labels: file name -> index of the class in the picture, background as 0; may be empty.
    """

    contents: dict[str, bytes]
    labels: dict[str, int]


def encode_activation(picture: bytes, details: bool = False) -> bytes:
    """Return an activation as the platform's proxy writes it: a line of JSON."""
    params: dict[str, Any] = {"image": base64.b64encode(picture).decode()}
    if details:
        params["details"] = True
    return json.dumps({"value": params}).encode()


def time_activation(action: actionloop.RunningAction, line: bytes) -> tuple[float, Any]:
    """Send an activation; return its milliseconds and the answer.

    Raises:
        BuildError: the action died, or answered with an error.
    """
    began = time.perf_counter()
    answer = action.send(line)
    ms = (time.perf_counter() - began) * 1000
    if not isinstance(answer, dict) or "error" in answer:
        raise BuildError(f"expected an answer without error, found {json.dumps(answer)[:500]}")
    return ms, answer


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
