"""The measurements that the README quotes: `python -m bench NAME`, where NAME is one of NAMES."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

from builder.errors import BuildError
from builder.paths import BUILDER, ROOT
from builder.tools import environment

INSIDE = "CLASSIFY_BENCH"
NAMES = {
    "cold": "a cold start, by stage, against hello world and a pip-made zip; with a plot",
    "guard": "sizes, imports and the warm path of the zip, against bench/limits.toml",
    "interpreters": "one inference: the compiled interpreter and the package index's two",
    "warm": "a warm activation, by stage, by size of the picture, and against a pip-made zip",
}
PLOTTERS = ("cold",)
"""Of NAMES: those that draw, which takes an environment with more packages."""


def main(arguments: list[str]) -> int:
    """Run the command line in the tool environment; returns the exit status."""
    if not arguments or arguments[0] not in NAMES:
        lines = (f"  {name:14}{about}" for name, about in NAMES.items())
        print("usage: python -m bench NAME [options]\n", *lines, sep="\n", file=sys.stderr)
        return 2
    try:
        if os.environ.get(INSIDE) != str(ROOT):
            _inside(arguments)
        run = importlib.import_module(f"bench.{arguments[0]}").run
        run(arguments[1:])
    except BuildError as error:
        print(f"error: {error}", *filter(None, [error.hint]), sep="\n  ", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _inside(arguments: list[str]) -> NoReturn:
    """Go on in the environment that the measurement needs, as this process: Ctrl-C reaches it."""
    plots = arguments[0] in PLOTTERS
    folder = Path(__file__).parent if plots else BUILDER
    python = environment("bench" if plots else "tools", folder / "requirements.txt")
    sys.stderr.flush()
    command = [str(python), "-m", "bench", *arguments]
    os.execve(python, command, {**os.environ, INSIDE: str(ROOT)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
