"""Where the native parts come from. A provider yields packages for a Python, with provenance.

A provider is a function `provide(python, console) -> Runtime`. `wheels` takes ready-made wheels
from the package index; it is all there is today, so `auto` means it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builder.console import Console


@dataclass(frozen=True)
class Part:
    """One package of a runtime, or the model, or our own code: what it is and where it is from."""

    name: str
    version: str
    source: str
    sha256: str
    licence: str
    licence_texts: tuple[tuple[str, str], ...]
    """(title, text) of each licence that its files are under."""
    compiled: bool = False
    """Compiled by this project: its libraries are held to its own gates."""
    linked: tuple["Part", ...] = ()
    """What is statically linked into it."""


@dataclass(frozen=True)
class Runtime:
    """A folder of importable packages for one Python version.

    Attributes:
        python: the version, as "3.11".
        folder: what goes on the import path.
        parts: the packages in it, with provenance.
        owner: path in `folder` (with slashes) -> name of the part it belongs to.
    """

    python: str
    folder: Path
    parts: tuple[Part, ...]
    owner: dict[str, str]


Provider = Callable[[str, Console], Runtime]


def providers() -> dict[str, Provider]:
    """The providers by the name that `--runtime` takes."""
    from builder.runtime import wheels

    return {"auto": wheels.provide, "wheels": wheels.provide}
