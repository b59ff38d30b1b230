"""Run all tests: `python3 -m tests [pytest options]`. Needs nothing but Python and the index.

The test environment is prepared once, from `tests/requirements.txt`. On two cores or more, the
tests run side by side, a file at a time. With `-n` or `-p` given, pytest runs as it is told.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from builder.base import files
from builder.base.environments import ensure_environment
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from builder.base.variables import neutral_variables

# Files that a run writes outside pytest's folders go to a temporary folder of this name.
TEMPORARY = Path(tempfile.gettempdir(), "classify-tests")
# Each process holds a browser and some running functions.
MOST_PROCESSES = 4


def main(arguments: list[str]) -> int:
    """Prepare the environment and run pytest in it; returns its exit status."""
    try:
        python = ensure_environment("tests", ROOT / "tests" / "requirements.txt")
        with files.temporary_folder(TEMPORARY) as folder:
            # What failed tests wrote stays where pytest keeps it.
            places = {"TMPDIR": str(folder), "PYTEST_DEBUG_TEMPROOT": str(TEMPORARY.parent)}
            # Nothing here multiplies matrices: the threads that numpy starts for it only spin.
            single = {"OPENBLAS_NUM_THREADS": "1"}
            return subprocess.call(
                [str(python), "-m", "pytest", *side_by_side(arguments), *arguments],
                cwd=ROOT,
                env={**neutral_variables(), **places, **single},
            )
    except BuildError as error:
        print(f"error: {error}\n  {error.hint}", file=sys.stderr)
        return 1


def side_by_side(arguments: list[str]) -> list[str]:
    """Options for several processes, where there are cores for them, and nothing else is said."""
    processes = min(os.cpu_count() or 1, MOST_PROCESSES)
    if processes == 1 or any(argument.startswith(("-n", "-p")) for argument in arguments):
        return []
    return ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
