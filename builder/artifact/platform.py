"""Read platform.toml: what OpenWhisk and its stock Python images allow a zip."""

from functools import cache
from pathlib import Path
from typing import Any

from builder.base import runtime_images
from builder.base.toml import read_toml


@cache
def table() -> dict[str, Any]:
    """Return all of `platform.toml`."""
    return read_toml(Path(__file__).with_name("platform.toml"))


def kind_of(python: str) -> dict[str, Any]:
    """Return the table of a Python version's kind."""
    kind: dict[str, Any] = table()["kinds"][f"python:{python}"]
    return kind


def zip_limit() -> int:
    """Return the size of the largest zip that OpenWhisk takes, in bytes."""
    limit: int = table()["limits"]["zip_bytes"]
    return limit


def execution_env(kind: str) -> str:
    """Return OW_EXECUTION_ENV of Apache's image for a kind; empty if none is known.

    A precompiled zip has to name it.
    """
    value: str = runtime_images.table()["openwhisk"]["execution_env"].get(
        kind.removeprefix("python:"), ""
    )
    return value


def pythons() -> list[str]:
    """Return the Python versions that a zip can be built for, oldest first."""
    return [kind.partition(":")[2] for kind in table()["kinds"]]


def pythons_with_image() -> list[str]:
    """Return the Python versions for which Apache publishes an image, oldest first."""
    return [python for python in pythons() if execution_env(f"python:{python}")]
