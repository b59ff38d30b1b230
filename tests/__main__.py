"""Run all tests: `python -m tests [pytest options]`. Needs nothing but Python and the index.

The test environment is prepared once, from `tests/requirements.txt`. On two cores or more, the
tests run side by side, a file at a time; those marked `alone`, which measure or set limits, run by
themselves after that. With `-n`, `-m` or `-p` given, pytest runs once, as it is told.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from builder import files
from builder.errors import BuildError
from builder.paths import ROOT
from builder.tools import environment
from builder.variables import NO_CODE_FILES, neutral

TEMPORARY = Path(tempfile.gettempdir(), "classify-tests")
"""Beside it is a folder for what a run writes elsewhere than where pytest says, and leaves."""
MOST = 4
"""So many processes at most: each holds a browser and some running functions."""
NO_TESTS = 5
"""pytest's exit status when nothing was selected."""


def main(arguments: list[str]) -> int:
    """Prepare the environment and run pytest in it; returns its exit status, the worst of two."""
    try:
        python = environment("tests", ROOT / "tests" / "requirements.txt")
        with files.scratch(TEMPORARY) as folder:
            # What failed tests wrote stays where pytest keeps it.
            places = {"TMPDIR": str(folder), "PYTEST_DEBUG_TEMPROOT": str(TEMPORARY.parent)}
            # A thousand processes that import the same: Python keeps what it compiled of it.
            ours = {name: value for name, value in os.environ.items() if name != NO_CODE_FILES}
            return run([str(python), "-m", "pytest"], arguments, {**neutral(ours), **places})
    except BuildError as error:
        print(f"error: {error}\n  {error.hint}", file=sys.stderr)
        return 1


def run(pytest: list[str], arguments: list[str], variables: dict[str, str]) -> int:
    """Run pytest once, or, with several processes, twice."""
    processes = min(os.cpu_count() or 1, MOST)
    told = any(argument.startswith(("-n", "-m", "-p")) for argument in arguments)
    if told or processes == 1:
        return subprocess.call([*pytest, *arguments], cwd=ROOT, env=variables)
    beside = ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]
    beside += ["-m", "not alone"]
    statuses = [
        subprocess.call([*pytest, *options, *arguments], cwd=ROOT, env=variables)
        for options in (beside, ["-m", "alone"])
    ]
    ran = [status for status in statuses if status != NO_TESTS]
    return max(ran, default=NO_TESTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
