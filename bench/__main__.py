"""`python3 -m bench`: starts a benchmark's command line in an environment that has its packages.

Standard library only: it runs on a plain Python, and makes the environment at the first call.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from builder.base.environments import ensure_environment, is_inside, reexec
from builder.base.errors import BuildError
from builder.base.paths import BUILDER


def main(arguments: list[str]) -> int:
    """Run a benchmark in its environment; return the exit status."""
    name = arguments[0] if arguments[:1] in (["guard"], ["threads"]) else "cli"
    # These two need no plots, so the environment of build_zip.py has all their packages.
    home, folder = ("bench", Path(__file__).parent) if name == "cli" else ("tools", BUILDER)
    try:
        if not is_inside(home):
            python = ensure_environment(home, folder / "requirements.txt")
            return reexec(home, python, ["-m", "bench", *arguments])
        command = importlib.import_module(f"bench.{name}")
        status: int = command.run(arguments if name == "cli" else arguments[1:])
    except BuildError as error:
        print(f"error: {error}", *filter(None, [error.hint]), sep="\n  ", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
