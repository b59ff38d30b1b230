"""Find newer versions of everything pinned, and write the pins."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from builder.base.environments import enter_environment
from builder.base.errors import run_main

ENVIRONMENT = "update"


def main(arguments: list[str]) -> int:
    """Run the command line in its environment; return the exit status."""
    usage = argparse.ArgumentParser("python3 -m tools.update", description=__doc__)
    usage.add_argument(
        "package",
        nargs="?",
        metavar="PACKAGE",
        help="a source, a wheel, or a package of the requirements files; `requirements` for all "
        "requirements files (default: all of these); `images` for the platforms' images",
    )
    text = "write nothing; exit with 1 if something is behind that is not held"
    usage.add_argument("--check", action="store_true", help=text)
    options = usage.parse_args(arguments)
    requirements = Path(__file__).with_name("requirements.txt")
    enter_environment(ENVIRONMENT, requirements, ["-m", "tools.update", *arguments])
    from tools.update.updater import update

    behind = 0
    for row in update(options.package, options.check):
        behind += row.is_behind
        print(row, flush=True)
    if behind and not options.check:
        print("next: python3 build_zip.py && python3 -m tests && python3 -m bench guard")
    return int(options.check and behind > 0)


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
