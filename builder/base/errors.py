"""The builder's errors: each says what is wrong, and what to do next. Standard library only."""

import sys
from collections.abc import Callable


def escape_controls(text: str, kept: str = "") -> str:
    """Return text without what a terminal would obey; characters in `kept` stay."""
    return "".join(
        letter
        if letter.isprintable() or letter in kept
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


class BuildError(Exception):
    """Something stopped the build; texts from files are escaped.

    Attributes:
        hint: tells the user what to do; empty if nothing is known.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(escape_controls(what, kept="\n"))
        self.hint = escape_controls(hint, kept="\n")


class UsageError(BuildError):
    """The command line asks for the impossible: exit status 2."""


class DownloadError(BuildError):
    """A file could not be downloaded, or is not the pinned one."""


class ModelError(BuildError):
    """A model, its labels or its signature do not fit."""


class SmokeError(BuildError):
    """The finished zip did not answer as it should."""


def run_main(main: Callable[[], int]) -> int:
    """Return the exit status of a command line: that of `main`, 1 if it failed, 130 on Ctrl-C.

    An error is printed with its hint.
    """
    try:
        return main()
    except (BuildError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        if hint := getattr(error, "hint", ""):
            print(f"  {hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
