"""Reads and writes a benchmark run as JSON: one file per CPU class in bench/results/."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.machine import CPU_CLASSES
from bench.results import Run
from builder.base.errors import BuildError

FOLDER = Path(__file__).parent / "results"
# Bump when a file of the older layout can no longer be read.
VERSION = 3


@dataclass
class _VersionedRun:
    """The content of a file."""

    version: int
    run: Run


def format_run(run: Run) -> str:
    """Return a run as JSON text; the same run gives the same bytes."""
    encoded = msgspec.json.encode(_VersionedRun(VERSION, run))
    text = msgspec.json.format(encoded, indent=1).decode()
    # One line per list of numbers, not one line per number.
    lists = re.compile(r"\[[-+\d.,\seE]*\]")
    return lists.sub(lambda numbers: re.sub(r"\s+", " ", numbers[0]), text) + "\n"


def read_run(path: Path) -> Run:
    """Read a run from a file; raises BuildError if it holds none of this version."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_VersionedRun)
    except (OSError, msgspec.MsgspecError) as error:
        raise BuildError(
            f"{path}: expected results of version {VERSION}, found: {error}",
            "python3 -m bench writes such a file",
        ) from error
    if found.version != VERSION:
        raise BuildError(f"{path}: expected version {VERSION}, found version {found.version}")
    return found.run


def run_path(run: Run, folder: Path = FOLDER) -> Path:
    """Return the path of a run's file: its name is the CPU class."""
    return folder / f"{run.machine.cpu_class.slug}.json"


def read_runs(folder: Path = FOLDER) -> list[Run]:
    """Read the stored runs in the order of the CPU classes; raises BuildError."""
    paths = [folder / f"{each.slug}.json" for each in CPU_CLASSES]
    runs = {path: read_run(path) for path in paths if path.exists()}
    for path, run in runs.items():
        if run_path(run, folder) != path:
            raise BuildError(f"{path}: expected a run on {path.stem}, found {run.machine}")
    return list(runs.values())
