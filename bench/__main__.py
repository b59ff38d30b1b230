"""`python3 -m bench`: starts a benchmark's command line in an environment that has its packages.

Standard library only: it runs on a plain Python, and makes the environment at the first call.
"""

from __future__ import annotations

import sys
from pathlib import Path

from builder.base.environments import enter_environment
from builder.base.errors import run_main

ENVIRONMENT = "bench"


def main(arguments: list[str]) -> int:
    """Run a benchmark in its environment; return the exit status."""
    requirements = Path(__file__).with_name("requirements.txt")
    enter_environment(ENVIRONMENT, requirements, ["-m", "bench", *arguments])
    from bench import cli, guard, threads

    commands = {"guard": guard.run, "threads": threads.run}
    if arguments and (command := commands.get(arguments[0])):
        return command(arguments[1:])
    return cli.run(arguments)


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
