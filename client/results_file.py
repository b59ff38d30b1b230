"""A file of answers, one JSON object per line, which a later run continues: `--output`."""

import json
from pathlib import Path
from typing import Any

from action.request import ActionError
from client.answer_formats import json_line

# How each line begins.
_LINE_START = b'{"file": "'


class ResultsFile:
    """Appends answers to a file at once; `answered` are the pictures that it had when opened."""

    def __init__(self, path: Path) -> None:
        """Open or create the file, and read the names of pictures that have answers.

        A last line that is incomplete, as after a crash, is removed.

        Raises:
            ActionError: it is no file, or has other lines than answers.
            OSError: it may not be written.
        """
        self.path = path
        self.answered: set[str] = set()
        if path.exists() and not path.is_file():
            raise ActionError(f"--output {path}: expected a file, found something else")
        self._file = open(path, "a+b")  # noqa: SIM115  (open until the program ends)
        self._file.seek(0)
        lines = self._file.readlines()
        if lines and not lines[-1].endswith(b"\n"):
            self._repair_last_line(lines)
        for number, line in enumerate(lines, 1):
            name = _parse_name(line)
            if name is None:
                raise ActionError(
                    f"--output {path}: expected JSON lines of an earlier run, found something else "
                    f"in line {number}; name another file"
                )
            self.answered.add(name)

    def _repair_last_line(self, lines: list[bytes]) -> None:
        """Add the missing line end, or remove the line if it is an incomplete answer."""
        if _parse_name(lines[-1]) is not None:
            self._file.write(b"\n")
        elif _LINE_START.startswith(lines[-1][: len(_LINE_START)]):
            self._file.truncate(sum(map(len, lines[:-1])))
            del lines[-1]

    def write(self, answer: dict[str, Any]) -> None:
        """Append one line; raise OSError if that fails, as on a full disk."""
        self._file.write(json_line(answer).encode() + b"\n")
        self._file.flush()


def _parse_name(line: bytes) -> str | None:
    """Return the picture's name in a line, None if the line is not an answer."""
    try:
        name = json.loads(line)["file"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None
