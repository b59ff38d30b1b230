"""Where the native parts come from. A provider yields packages for a Python, with provenance.

`wheels` takes ready-made wheels from the package index; `local` compiles on this machine and
`container` in a container, by the recipe in `native/`; `prebuilt` takes what a release has
compiled; `auto` takes the best that is to be had
without asking for anything: a compiled runtime that is there, a container engine, or wheels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

NO_LICENCE = "not stated"
"""Of a part that the user brought: we claim nothing about it."""


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
    linked: tuple[Part, ...] = ()
    """What is statically linked into it."""
    purl: str = ""
    """What it is, for tools that look for known vulnerabilities: its package URL."""
    cpe: str = ""
    """The same in the words of the National Vulnerability Database."""
    python: str = ""
    """The Python version that it is for, as "3.11"; empty for what is for each."""


@dataclass(frozen=True)
class Runtime:
    """A folder of importable packages for one Python version.

    Attributes:
        python: the version, as "3.11".
        folder: what goes on the import path.
        parts: the packages in it, with provenance.
        owner: path in `folder` (with slashes) -> name of the part it belongs to.
        origin: which provider it is from, and why, for the build's log.
        operators: the highest version that its interpreter has of each of TFLite's builtin
            operators.
    """

    python: str
    folder: Path
    parts: tuple[Part, ...]
    owner: dict[str, str]
    origin: str
    operators: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """How to make a runtime.

    Attributes:
        ops: "classifier" or "all": which operators a compiled interpreter has.
        sources: folder that is searched for source archives before anything is fetched.
        engine: the container engine to use; empty to find one.
        engine_arguments: passed to its build command.
        prebuilt: file or address to take compiled packages from; empty for a release's.
    """

    ops: str = "classifier"
    sources: Path | None = None
    engine: str = ""
    engine_arguments: tuple[str, ...] = ()
    prebuilt: str = ""


DEFAULT = Options()


def package_tag(python: str) -> str:
    """What names a Python version in paths: "3.11" -> "cp311"."""
    return "cp" + python.replace(".", "")
