"""The builder's errors: what is wrong, and what to do next. Only the command line exits.

Standard library only.
"""

import sys
from collections.abc import Callable


class BuildError(Exception):
    """Something stopped the build.

    Attributes:
        hint: what the user can do about it; empty if nothing is known.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class UsageError(BuildError):
    """The command line asks for what cannot be: exit status 2."""


class DownloadError(BuildError):
    """A file could not be had, or is not the one that was pinned."""


class ModelError(BuildError):
    """A model, its labels or its signature do not fit."""


class SmokeError(BuildError):
    """The finished zip did not answer as it should."""


def run_main(work: Callable[[], int], stopped: str = "stopped") -> int:
    """What a command line exits with: what `work` returns; 1 if it failed, 130 on Ctrl-C.

    An error goes to stderr with its hint.
    """
    try:
        return work()
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
