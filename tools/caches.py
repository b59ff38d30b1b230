"""Show what the caches of builds and tests take, and clear them.

`python3 -m tools.caches` prints sizes; `--clear` removes it all. The next build or test makes
what it needs again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from builder.base.errors import run_main
from builder.base.files import remove
from builder.base.paths import BUILD, COMPILED, ENVIRONMENTS, WORK


def find_caches() -> dict[str, list[Path]]:
    """Return the files and folders of each kind of cache."""
    environments = [path.parent for path in ENVIRONMENTS.glob("*/pyvenv.cfg")]
    return {
        "virtual environments": environments,
        "type checks, peers": sorted({*ENVIRONMENTS.glob("*")} - {*environments}),
        "compiled packages": sorted(COMPILED.glob("*-*")),
        "builds and downloads": sorted(BUILD.glob("*")) if BUILD != ENVIRONMENTS else [],
        "downloaded models": sorted((WORK / "model").glob("*.tflite")),
    }


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links are not followed."""
    return sum(each.lstat().st_size for each in (path, *path.rglob("*")) if not each.is_dir())


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser("python3 -m tools.caches", description=__doc__)
    parser.add_argument("--clear", action="store_true", help="remove all of them")
    options = parser.parse_args(arguments)
    caches = find_caches()
    sizes = {kind: sum(map(size_of, paths)) for kind, paths in caches.items()}
    for kind, size in {**sizes, "in all": sum(sizes.values())}.items():
        print(f"{size / 1e6:8.1f} MB  {kind}")
    for path in [path for paths in caches.values() for path in paths if options.clear]:
        remove(path)
        print(f"removed {path}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
