"""`python -m bench interpreters`: the interpreters alone, with their table on standard output."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench import command


def run(arguments: Sequence[str]) -> int:
    """Parse the command line and measure; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench interpreters",
        description="Compare interpreters: one inference of the model, one thread each, in turns. "
        "It is `python -m bench --only inference`, whose other options it takes.",
    )
    parser.add_argument("--inferences", type=command.positive, default=command.INFERENCES)
    options, others = parser.parse_known_args(arguments)
    return command.run(["--only", "inference", "--inferences", str(options.inferences), *others])
