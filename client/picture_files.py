"""Find the picture files to classify, and read them."""

import os
from collections.abc import Iterator

from client.errors import UnreadableError

# Of pictures in a folder, in lower or upper case.
FILE_ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".apng", ".webp", ".gif", ".bmp",
    ".dib", ".heic", ".heif",
)  # fmt: skip
STANDARD_INPUT = "-"


def expand_folders(names: list[str]) -> list[str]:
    """Return the names of the files to classify, each once.

    Args:
        names: files, folders, or "-". A folder stands for all pictures below it, sorted, without
            pipes and devices; a file is taken whatever its name is, and whether or not it exists.
    """
    expanded: dict[str, None] = {}
    for name in names:
        inside = sorted(_walk_pictures(name)) if os.path.isdir(name) else []
        expanded.update(dict.fromkeys(inside or [name]))
    return list(expanded)


def _walk_pictures(folder: str) -> Iterator[str]:
    unreadable: list[OSError] = []
    for parent, _, names in os.walk(folder, onerror=unreadable.append):
        for name in names:
            # macOS adds a file ._NAME with attributes for each file on foreign disks.
            if name.lower().endswith(FILE_ENDINGS) and not name.startswith("._"):
                path = os.path.join(parent, name)
                # Opening a named pipe would wait for its writer. Broken links are reported.
                if os.path.isfile(path) or not os.path.exists(path):
                    yield path
    # Reading them reports the error.
    yield from (str(error.filename) for error in unreadable)


def read_picture(name: str, limit: int) -> bytes:
    """Return the bytes of a file, or of standard input for "-".

    Raises:
        UnreadableError: there is no such file, it may not be read, or has over `limit` bytes.
    """
    try:
        # Not by sys.stdin: at Ctrl-C a thread would still hold it while Python exits.
        stdin = name == STANDARD_INPUT
        with open(0 if stdin else name, "rb", closefd=not stdin) as file:
            data = file.read(limit + 1)
    except IsADirectoryError:
        if not os.access(name, os.R_OK | os.X_OK):
            raise UnreadableError("this folder cannot be read: Permission denied") from None
        raise UnreadableError(f"no pictures in this folder ({', '.join(FILE_ENDINGS)})") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from None
    if len(data) > limit:
        raise UnreadableError(f"image: expected at most {limit // 2**20} MiB, found more")
    return data
