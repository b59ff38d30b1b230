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
    is_guard = arguments[:1] == ["guard"]
    # The guard needs no plots, so the environment of build_zip.py has all its packages.
    home, folder = ("tools", BUILDER) if is_guard else ("bench", Path(__file__).parent)
    try:
        if not is_inside(home):
            python = ensure_environment(home, folder / "requirements.txt")
            return reexec(home, python, ["-m", "bench", *arguments])
        command = importlib.import_module("bench.guard" if is_guard else "bench.cli")
        status: int = command.run(arguments[1:] if is_guard else arguments)
    except BuildError as error:
        print(f"error: {error}", *filter(None, [error.hint]), sep="\n  ", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
