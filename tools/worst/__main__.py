"""Search the pictures that cost most: `python3 -m tools.worst classify.zip --seconds 120`."""

import sys

from builder.base.environments import ensure_environment, is_inside, reexec
from builder.base.errors import run_main
from builder.base.paths import ROOT
from builder.base.variables import neutral_variables

ENVIRONMENT = "tests"


def main(arguments: list[str]) -> int:
    """Run the search in the tests' environment, which has Pillow; return the exit status."""
    if not is_inside(ENVIRONMENT):
        python = ensure_environment(ENVIRONMENT, ROOT / "tests" / "requirements.txt")
        command = ["-m", "tools.worst", *arguments]
        return reexec(ENVIRONMENT, python, command, neutral_variables())
    from tools.worst import search

    return search.main(arguments)


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
