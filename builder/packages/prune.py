"""Select the files of a package that ship, by the lists in `prune.toml`."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from builder.base.toml import read_toml
from builder.native import COMPILED_PACKAGES
from builder.native.hashing import read_list
from builder.native.steps import RECIPE

PRUNE = Path(__file__).with_name("prune.toml")


def list_files(folder: Path, package: str = "") -> list[str]:
    """Return the paths of all files in a folder, or of a package there, without bytecode."""
    files = (path for path in (folder / package).rglob("*") if path.is_file())
    paths = sorted(path.relative_to(folder).as_posix() for path in files)
    return [path for path in paths if "__pycache__/" not in path]


def read_rules(package: str) -> dict[str, Any]:
    """Return a package's table in `prune.toml`, complete; without one, rules that keep all."""
    rules: dict[str, Any] = {"keep": [], "drop": [], "callers": [], "replacements": {}}
    rules |= read_toml(PRUNE).get(package, {})
    for known in COMPILED_PACKAGES:
        if known.folder == rules.get("recipe"):
            listed = [*read_list(RECIPE / known.folder / "ships.txt"), "_standins.py"]
            rules["keep"] = [*rules["keep"], {"paths": [f"{known.module}/{p}" for p in listed]}]
    return rules


def select_shipped(package: str, paths: Iterable[str]) -> list[str]:
    """Return the paths that a package's `keep` and `drop` rules leave, sorted."""
    rules = read_rules(package)
    keep = [pattern for rule in rules["keep"] for pattern in rule["paths"]] or ["*"]
    drop = [pattern for rule in rules["drop"] for pattern in rule["paths"]]
    return sorted(
        path
        for path in paths
        if not path.endswith("/")
        and any(fnmatchcase(path, pattern) for pattern in keep)
        and not any(fnmatchcase(path, pattern) for pattern in drop)
    )
