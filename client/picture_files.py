"""Which files are classified, and their bytes."""

import os
from collections.abc import Iterator

from action.request import ActionError

ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".apng", ".webp", ".gif", ".bmp",
    ".dib",
)  # fmt: skip
"""Of the pictures in a folder, in lower or upper case."""
STANDARD_INPUT = "-"


class UnreadableError(ActionError):
    """The file cannot be read; the text says why."""


def expand(wanted: list[str]) -> list[str]:
    """Names of the files to classify, each once.

    Args:
        wanted: files, folders, or "-". Of a folder, all pictures below it count, sorted; a file
            counts whatever its name is, and whether or not it is there.
    """
    names: dict[str, None] = {}
    for name in wanted:
        inside = sorted(_pictures(name)) if os.path.isdir(name) else []
        names.update(dict.fromkeys(inside or [name]))
    return list(names)


def _pictures(folder: str) -> Iterator[str]:
    unreadable: list[OSError] = []
    for parent, _, names in os.walk(folder, onerror=unreadable.append):
        for name in names:
            # macOS leaves a ._NAME with a file's attributes beside it on foreign disks.
            if name.lower().endswith(ENDINGS) and not name.startswith("._"):
                yield os.path.join(parent, name)
    yield from (str(error.filename) for error in unreadable)  # named again when it is read


def read(name: str, limit: int) -> bytes:
    """The bytes of a file, or of standard input for "-".

    Raises:
        UnreadableError: there is no such file, it may not be read, or has over `limit` bytes.
    """
    try:
        # Not by sys.stdin: at Ctrl-C a thread would still hold it while Python ends.
        stdin = name == STANDARD_INPUT
        with open(0 if stdin else name, "rb", closefd=not stdin) as file:
            data = file.read(limit + 1)
    except IsADirectoryError:
        if not os.access(name, os.R_OK | os.X_OK):
            raise UnreadableError("this folder cannot be read: Permission denied") from None
        raise UnreadableError(f"no pictures in this folder ({', '.join(ENDINGS)})") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from None
    if len(data) > limit:
        raise UnreadableError(f"image: expected at most {limit // 2**20} MiB, found more")
    return data
