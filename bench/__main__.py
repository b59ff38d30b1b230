"""`python -m bench` measures everything; `python -m bench guard` holds ratios against limits."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

from builder.errors import BuildError
from builder.paths import BUILDER, ROOT
from builder.tools import environment

INSIDE = "CLASSIFY_BENCH"


def main(arguments: list[str]) -> int:
    """Run the command line in an environment that has what it needs; returns the exit status."""
    guard = arguments[:1] == ["guard"]
    try:
        if os.environ.get(INSIDE) != str(ROOT):
            _inside(arguments, guard)
        if guard:
            status: int = importlib.import_module("bench.guard").run(arguments[1:])
        else:
            status = importlib.import_module("bench.command").run(arguments)
    except BuildError as error:
        print(f"error: {error}", *filter(None, [error.hint]), sep="\n  ", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _inside(arguments: list[str], guard: bool) -> NoReturn:
    """Go on in the environment that is needed, as this process: Ctrl-C reaches it."""
    folder = BUILDER if guard else Path(__file__).parent
    python = environment("tools" if guard else "bench", folder / "requirements.txt")
    sys.stderr.flush()
    command = [str(python), "-m", "bench", *arguments]
    os.execve(python, command, {**os.environ, INSIDE: str(ROOT)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
