"""Run all tests: `python -m tests [pytest options]`. Needs nothing but Python and the index.

The test environment is prepared once under `build/`, from `tests/requirements.txt`.
"""

import subprocess
import sys

from builder.errors import BuildError
from builder.paths import ROOT
from builder.tools import environment
from builder.variables import neutral


def main() -> int:
    """Prepare the environment and run pytest in it; returns pytest's exit status."""
    try:
        python = environment("tests", ROOT / "tests" / "requirements.txt")
    except BuildError as error:
        print(f"error: {error}\n  {error.hint}", file=sys.stderr)
        return 1
    return subprocess.call([str(python), "-m", "pytest", *sys.argv[1:]], cwd=ROOT, env=neutral())


if __name__ == "__main__":
    sys.exit(main())
