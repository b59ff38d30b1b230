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
    in_environments = sorted(ENVIRONMENTS.glob("*"))
    environments = [path for path in in_environments if (path / "pyvenv.cfg").exists()]
    caches = {
        "virtual environments": environments,
        "compiled packages": sorted(COMPILED.glob("*-*")),
        "bytecode, type checks, benchmark peers": in_environments,
        "builds and downloads": sorted(BUILD.glob("*")),
        "downloaded models": sorted((WORK / "model").glob("*.tflite")),
    }
    kinds: dict[str, list[Path]] = {}
    seen: set[Path] = set()
    for kind, paths in caches.items():
        kinds[kind] = [path for path in paths if path not in seen]
        seen.update(paths)
    return kinds


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links are not followed."""
    paths = [path] if path.is_file() or path.is_symlink() else path.rglob("*")
    return sum(each.lstat().st_size for each in paths if each.is_symlink() or each.is_file())


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser("python3 -m tools.caches", description=__doc__)
    parser.add_argument("--clear", action="store_true", help="remove all of them")
    options = parser.parse_args(arguments)
    total = 0
    for kind, paths in find_caches().items():
        size = sum(map(size_of, paths))
        total += size
        print(f"{size / 1e6:8.1f} MB  {kind}")
        for path in paths:
            if options.clear:
                remove(path)
                print(f"             removed {path}")
    print(f"{total / 1e6:8.1f} MB  {'removed' if options.clear else 'in all (--clear removes it)'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
