"""Runs as files: JSON with a version, one per class of CPU, in bench/results/.

A run replaces the stored one of its own class and leaves the others as they are, each with its
date and machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.machine import CLASSES
from bench.results import Run
from builder.base.errors import BuildError

FOLDER = Path(__file__).parent / "results"
VERSION = 2
"""Of the format; 1 was one file without types, whose cold starts cost too little."""


@dataclass
class _Versioned:
    """What a file has: the version first, for whoever reads an older or a newer one."""

    version: int
    run: Run


def text(run: Run) -> str:
    """A run as JSON, the same bytes for the same run."""
    packed = msgspec.json.format(msgspec.json.encode(_Versioned(VERSION, run)), indent=1).decode()
    # One line per list of numbers: a thousand lines of one number each are no help to a reader.
    lists = re.compile(r"\[[-+\d.,\seE]*\]")
    return lists.sub(lambda numbers: re.sub(r"\s+", " ", numbers[0]), packed) + "\n"


def read(path: Path) -> Run:
    """A run from a file; raises BuildError if it holds none of this version."""
    hint = "python -m bench writes such a file"
    try:
        content = path.read_bytes()
        version = msgspec.json.decode(content, type=dict[str, msgspec.Raw])["version"]
        if (number := msgspec.json.decode(version, type=int)) != VERSION:
            raise BuildError(
                f"{path}: expected results of version {VERSION}, found version {number}",
                "measure again, or use the checkout that wrote it",
            )
        run: Run = msgspec.json.decode(content, type=_Versioned).run
    except KeyError:
        raise BuildError(f"{path}: expected results with a version, found none", hint) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise BuildError(f"{path}: expected results of a run, found: {error}", hint) from error
    return run


def path(run: Run, folder: Path = FOLDER) -> Path:
    """Where a run is stored: by the class of its CPU."""
    return folder / f"{run.machine.cpu.slug}.json"


def runs(folder: Path = FOLDER) -> list[Run]:
    """What is stored, in the order of the classes.

    Raises:
        BuildError: a file cannot be read, or holds a run of another class than its name says.
    """
    stored = []
    for each in CLASSES:
        file = folder / f"{each.slug}.json"
        if file.exists():
            run = read(file)
            if run.machine.cpu != each:
                raise BuildError(f"{file}: expected a run on {each.name}, found {run.machine}")
            stored.append(run)
    return stored
