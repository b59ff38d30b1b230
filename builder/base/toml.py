"""Read TOML files, on any Python that the builder runs on."""

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    try:
        import tomli as tomllib
    except ImportError:  # a bare Python 3.10: pip brings one
        from pip._vendor import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's content as plain values."""
    with path.open("rb") as file:
        values: dict[str, Any] = tomllib.load(file)
    return values
