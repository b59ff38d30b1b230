"""Recognize by content what people pass for a model or for labels; `file_kinds.toml` lists it."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
import zlib
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from builder.base.toml import read_toml

_TABLE = Path(__file__).with_name("file_kinds.toml")
# How many bytes patterns look at, and how many members of a tar archive.
_START = 4096
_MEMBERS = 100


class FileKind(NamedTuple):
    """A kind of file, by name, and the remedy for a message; empty if none is known."""

    name: str
    remedy: str


def recognize_file(content: bytes, role: str) -> FileKind | None:
    """Return the kind of a file that is not what it was passed for; None if it is unknown.

    The role is "model" or "labels".
    """
    start, members = content[:_START].decode("latin-1"), _list_members(content)
    for kind in read_toml(_TABLE)["kind"]:
        if kind.get("only", role) != role:
            continue
        if "pattern" in kind:
            fits = [""] if re.match(kind["pattern"], start, re.DOTALL) else []
        else:
            fits = [member for member in members if re.fullmatch(kind["member"], member)]
        if fits:
            name, remedy = (
                text.replace("{member}", fits[0]) for text in (kind["name"], kind.get(role, ""))
            )
            return FileKind(name, remedy)
    return None


def _list_members(content: bytes) -> list[str]:
    """Return the paths in a zip archive, or the first ones in a tar archive, compressed or not."""
    try:
        if content.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return archive.namelist()
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            return [member.name for member in islice(tar, _MEMBERS)]
    except (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, ValueError, zlib.error):
        return []
