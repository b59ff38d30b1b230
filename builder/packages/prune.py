"""Select the files of a package that ship, by the lists in `prune.toml`."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from builder.base.toml import read_toml

PRUNE = Path(__file__).with_name("prune.toml")


def select_shipped(package: str, paths: Iterable[str]) -> list[str]:
    """Return the paths of a package that ship; all if `prune.toml` does not have the package."""
    return apply_rules(read_toml(PRUNE).get(package, {"keep": [], "drop": []}), paths)


def apply_rules(rules: dict[str, Any], paths: Iterable[str]) -> list[str]:
    """Return the paths that a package's `keep` and `drop` rules leave, sorted."""
    keep = [pattern for rule in rules["keep"] for pattern in rule["paths"]] or ["*"]
    drop = [pattern for rule in rules["drop"] for pattern in rule["paths"]]
    return sorted(
        path
        for path in paths
        if not path.endswith("/")
        and any(fnmatchcase(path, pattern) for pattern in keep)
        and not any(fnmatchcase(path, pattern) for pattern in drop)
    )
