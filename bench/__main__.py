"""`python -m bench` measures everything; its other commands are COMMANDS. Standard library only.

Each runs in an environment that has what it needs, made at the first call: from a plain shell, a
plain Python is enough.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

from builder.base.environments import ensure_environment
from builder.base.errors import BuildError
from builder.base.paths import BUILDER, ROOT

INSIDE = "CLASSIFY_BENCH"
COMMANDS = {
    "": "bench.cli",
    "cold": "bench.cold_starts",
    "guard": "bench.guard",
}
"""What comes first on the command line, and the module whose `run` takes the rest of it."""


def main(arguments: list[str]) -> int:
    """Run the command line in an environment that has what it needs; returns the exit status."""
    name = arguments[0] if arguments[:1] and arguments[0] in COMMANDS else ""
    try:
        if os.environ.get(INSIDE) != str(ROOT):
            _inside(arguments, name)
        rest = arguments[1:] if name else arguments
        status: int = importlib.import_module(COMMANDS[name]).run(rest)
    except BuildError as error:
        print(f"error: {error}", *filter(None, [error.hint]), sep="\n  ", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _inside(arguments: list[str], name: str) -> NoReturn:
    """Go on in the environment that is needed, as this process: Ctrl-C reaches it."""
    guard = name == "guard"  # what it needs is there where zips are built
    folder = BUILDER if guard else Path(__file__).parent
    python = ensure_environment("tools" if guard else "bench", folder / "requirements.txt")
    sys.stderr.flush()
    command = [str(python), "-m", "bench", *arguments]
    os.execve(python, command, {**os.environ, INSIDE: str(ROOT)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
