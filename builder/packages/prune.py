"""Which files of a package ship: the lists in `prune.toml`."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from builder.base.paths import BUILDER
from builder.base.toml import read_toml

PRUNE = BUILDER / "packages" / "prune.toml"


def select(package: str, names: Iterable[str]) -> list[str]:
    """The paths that `prune.toml` leaves of a package; all if it says nothing of it."""
    return apply(read_toml(PRUNE).get(package, {"keep": [], "drop": []}), names)


def apply(rules: dict[str, Any], names: Iterable[str]) -> list[str]:
    """The paths that the `keep` and `drop` rules of a package leave, sorted."""
    keep = [pattern for rule in rules["keep"] for pattern in rule["paths"]] or ["*"]
    drop = [pattern for rule in rules["drop"] for pattern in rule["paths"]]
    return sorted(
        name
        for name in names
        if not name.endswith("/")
        and any(fnmatchcase(name, pattern) for pattern in keep)
        and not any(fnmatchcase(name, pattern) for pattern in drop)
    )
