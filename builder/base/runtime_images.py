"""Read runtime_images.toml: the images that platforms run Python actions in, and their kinds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from builder.base.toml import read_toml

TABLE = Path(__file__).with_name("runtime_images.toml")


@dataclass(frozen=True)
class Image:
    """An image that runs Python actions.

    Attributes:
        platform: whose it is, as "OpenServerless".
        python: its version, as "3.11".
        execution_env: its OW_EXECUTION_ENV; empty if it is not known.
    """

    platform: str
    python: str
    execution_env: str

    @property
    def survives_upgrades(self) -> bool:
        """Whether the next image has the same OW_EXECUTION_ENV: it names no patch release."""
        return bool(self.execution_env) and not re.search(r"\d+\.\d+\.\d+", self.execution_env)


@cache
def table() -> dict[str, dict[str, Any]]:
    """Return `runtime_images.toml`: a table per platform."""
    return read_toml(TABLE)


def identify_image(name: str) -> Image | None:
    """Return what is known of an image that a host names; None if it is no platform's."""
    for platform in table().values():
        if found := re.search(platform["image"], name):
            return Image(platform["title"], found[1], platform["execution_env"].get(found[1], ""))
    return None


def images_of_kind(kind: str) -> list[Image]:
    """Return the images that platforms use for a kind, as "python:3.11"; OpenWhisk's first."""
    exact = kind.removeprefix("python:") if kind.startswith("python:") else ""
    found = []
    for platform in table().values():
        python = platform["aliases"].get(kind, exact)
        if env := platform["execution_env"].get(python):
            found.append(Image(platform["title"], python, env))
    return found


def known_kinds() -> Iterator[str]:
    """Yield the names of all kinds of all platforms, each once."""
    platforms = table().values()
    yield from dict.fromkeys(alias for each in platforms for alias in each["aliases"])
    yield from sorted(
        {f"python:{python}" for each in platforms for python in each["execution_env"]}
    )
