"""The data files beside the code, read once: pins, platform limits, removal lists, models."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

from builder.base.paths import BUILDER, MODELS

if sys.version_info >= (3, 11):
    import tomllib
else:
    try:
        import tomli as tomllib
    except ImportError:  # before the tool's environment is there: pip brings one
        from pip._vendor import tomli as tomllib


def read(path: Path) -> dict[str, Any]:
    """A TOML file as plain values."""
    with path.open("rb") as file:
        values: dict[str, Any] = tomllib.load(file)
    return values


@cache
def pins() -> dict[str, Any]:
    """Versions, files and sha256 of the packages: `pins.toml`."""
    return read(BUILDER / "packages" / "pins.toml")


@cache
def platform() -> dict[str, Any]:
    """Limits of OpenWhisk and of its images: `platform.toml`."""
    return read(BUILDER / "base" / "platform.toml")


@cache
def catalogue() -> dict[str, Any]:
    """The models that can be asked for by name: `model/catalogue.toml`."""
    return read(MODELS / "catalogue.toml")


@cache
def prebuilt() -> dict[str, Any]:
    """Per Python version the compiled packages that a release has published: `prebuilt.toml`."""
    return read(BUILDER / "packages" / "prebuilt.toml")


def zip_limit() -> int:
    """Largest zip that OpenWhisk takes, in bytes."""
    limit: int = platform()["limits"]["zip_bytes"]
    return limit


def execution_env(kind: str) -> str:
    """OW_EXECUTION_ENV of the image behind a kind, as Apache publishes it; empty if none is known.

    A precompiled zip has to name it.
    """
    found: str = platform()["kinds"].get(kind, {}).get("execution_env", "")
    return found


def with_images() -> list[str]:
    """The Python versions of which Apache publishes an image, oldest first."""
    return [python for python in pythons() if platform()["kinds"][f"python:{python}"]["image"]]


def pythons() -> list[str]:
    """The Python versions that a zip can be built for, oldest first."""
    return [kind.partition(":")[2] for kind in platform()["kinds"]]
