"""Recognize by content the format of a file that is not what it was passed for.

`file_formats.toml` lists what people pass for a .tflite model or for labels.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
import zlib
from codecs import BOM_UTF8
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from builder.base.toml import read_toml

_FORMATS = Path(__file__).with_name("file_formats.toml")
# How many bytes patterns look at, and how many members of a tar archive.
_START = 4096
_MEMBERS = 100


class FileFormat(NamedTuple):
    """The name of a format, and the remedy for a message; empty if none is known."""

    name: str
    remedy: str


def recognize_format(content: bytes, role: str) -> FileFormat | None:
    """Return the format of a file that is not what it was passed for; None if it is unknown.

    The role is "model" or "labels".
    """
    content = content.removeprefix(BOM_UTF8)
    start, members = content[:_START].decode("latin-1"), _list_members(content)
    for entry in read_toml(_FORMATS)["format"]:
        if entry.get("only", role) != role:
            continue
        if "pattern" in entry:
            found = [""] if re.match(entry["pattern"], start, re.DOTALL) else []
        else:
            found = [member for member in members if re.fullmatch(entry["member"], member)]
        if found:
            texts = (entry["name"], entry.get(role, ""))
            return FileFormat(*(text.replace("{member}", found[0]) for text in texts))
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
