"""The measurements that the README quotes: `python -m bench NAME`, where NAME is one of NAMES."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

from builder.errors import BuildError
from builder.paths import BUILDER, ROOT
from builder.tools import environment

INSIDE = "CLASSIFY_BENCH"
NAMES = {
    "interpreters": "one inference: the compiled interpreter and the package index's two",
    "warm": "a warm activation, by stage, by size of the picture, and against a pip-made zip",
}


def main(arguments: list[str]) -> int:
    """Run the command line in the tool environment; returns the exit status."""
    if not arguments or arguments[0] not in NAMES:
        lines = (f"  {name:14}{about}" for name, about in NAMES.items())
        print("usage: python -m bench NAME [options]\n", *lines, sep="\n", file=sys.stderr)
        return 2
    try:
        if os.environ.get(INSIDE) != str(ROOT):
            python = environment("tools", BUILDER / "requirements.txt")
            command = [str(python), "-m", "bench", *arguments]
            return subprocess.run(command, env={**os.environ, INSIDE: str(ROOT)}).returncode
        run = importlib.import_module(f"bench.{arguments[0]}").run
        run(arguments[1:])
    except BuildError as error:
        print(f"error: {error}", *filter(None, [error.hint]), sep="\n  ", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
