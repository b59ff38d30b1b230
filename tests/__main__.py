"""Run all tests: `python -m tests [pytest options]`. Needs nothing but Python and the index.

The test environment is prepared once under `build/`, from `tests/requirements.txt`. On two cores or
more, the tests run side by side, a file at a time; those marked `alone`, which measure or set
limits, run by themselves after that. With `-n`, `-m` or `-p` given, pytest runs
once, as it is told.
"""

import os
import subprocess
import sys

from builder.errors import BuildError
from builder.paths import ROOT
from builder.tools import environment
from builder.variables import neutral

MOST = 4
"""So many processes at most: each holds a browser and some running functions."""
NO_TESTS = 5
"""pytest's exit status when nothing was selected."""


def main(arguments: list[str]) -> int:
    """Prepare the environment and run pytest in it; returns its exit status, the worst of two."""
    try:
        python = environment("tests", ROOT / "tests" / "requirements.txt")
    except BuildError as error:
        print(f"error: {error}\n  {error.hint}", file=sys.stderr)
        return 1
    pytest = [str(python), "-m", "pytest"]
    processes = min(os.cpu_count() or 1, MOST)
    told = any(argument.startswith(("-n", "-m", "-p")) for argument in arguments)
    if told or processes == 1:
        return subprocess.call([*pytest, *arguments], cwd=ROOT, env=neutral())
    beside = ["-n", str(processes), "--dist", "loadfile", "-m", "not alone"]
    statuses = [
        subprocess.call([*pytest, *options, *arguments], cwd=ROOT, env=neutral())
        for options in (beside, ["-m", "alone"])
    ]
    ran = [status for status in statuses if status != NO_TESTS]
    return max(ran, default=NO_TESTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
