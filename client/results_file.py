"""A file of answers, one JSON object per line, that a later run goes on with."""

import json
from pathlib import Path
from typing import Any

from action.request import ActionError
from client.answer_formats import json_line

_START = b'{"file": "'
"""How each line begins."""


class ResultsError(ActionError):
    """The file cannot be written to, or holds something else than answers; the text says what."""


class ResultsFile:
    """Answers are added to a file as they come, each line at once.

    Attributes:
        path: of the file.
        answered: names of the pictures whose answers it had when it was opened.
    """

    def __init__(self, path: Path, must_exist: bool = False) -> None:
        """Open or make the file; of one that has answers, the names are read.

        A last line that is cut short, as by a crash, is taken off.

        Raises:
            ResultsError: it is a folder, may not be written to, or has other lines than answers;
                or it is not there although it must be.
        """
        self.path = path
        self.answered: set[str] = set()
        if must_exist and not path.exists():
            raise ResultsError(f"--resume: expected an earlier run's file, found no {path}")
        if path.exists() and not path.is_file():
            raise ResultsError(f"--output {path}: expected a file, found something else")
        try:
            self._file = open(path, "a+b")  # noqa: SIM115  (closed by `close`)
            self._file.seek(0)
            lines = self._file.readlines()
            if lines and not lines[-1].endswith(b"\n"):
                self._mend(lines)
        except OSError as error:
            raise ResultsError(_unwritable(path, error)) from None
        for number, line in enumerate(lines, 1):
            name = _name(line)
            if name is None:
                raise ResultsError(
                    f"--output {path}: expected JSON lines of an earlier run, found something else "
                    f"in line {number}; name another file"
                )
            self.answered.add(name)

    def _mend(self, lines: list[bytes]) -> None:
        """End the last line, or take it off if it is the beginning of an answer only."""
        if _name(lines[-1]) is not None:
            self._file.write(b"\n")
        elif _START.startswith(lines[-1][: len(_START)]):
            self._file.truncate(sum(map(len, lines[:-1])))
            del lines[-1]

    def write(self, answer: dict[str, Any]) -> None:
        """Add one line; raises ResultsError if that fails, as on a full disk."""
        try:
            self._file.write(json_line(answer).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise ResultsError(_unwritable(self.path, error)) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _name(line: bytes) -> str | None:
    """The picture's name in a line, None if the line is no answer."""
    try:
        name = json.loads(line)["file"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _unwritable(path: Path, error: OSError) -> str:
    return f"--output {path}: cannot be written: {error.strerror or error}"
