"""`python3 -m bench`: starts a benchmark's command line in an environment that has its packages.

Standard library only: it runs on a plain Python, and makes the environment at the first call.
"""

from __future__ import annotations

import sys
from pathlib import Path

from builder.base.environments import ensure_environment, is_inside, reexec
from builder.base.errors import run_main

ENVIRONMENT = "bench"


def main(arguments: list[str]) -> int:
    """Run a benchmark in its environment; return the exit status."""
    if not is_inside(ENVIRONMENT):
        python = ensure_environment(ENVIRONMENT, Path(__file__).with_name("requirements.txt"))
        return reexec(ENVIRONMENT, python, ["-m", "bench", *arguments])
    from bench import cli, guard, threads

    commands = {"cold": cli.run_cold, "guard": guard.run, "threads": threads.run}
    if arguments and (command := commands.get(arguments[0])):
        return command(arguments[1:])
    return cli.run(arguments)


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
