"""The results of a benchmark run, suite by suite, and their JSON: a file per CPU class.

Any part may be empty. Times are in ms and sizes in bytes unless
a name says otherwise. Dictionaries have the peers' names as keys, in the order of the tables.
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench.machine import CPU_CLASSES, Machine
from builder.base.errors import BuildError

FOLDER = Path(__file__).parent / "results"
# Bump when a file of the older layout can no longer be read; `Run.version` too.
VERSION: Final = 4


@dataclass
class Answer:
    """A peer's answer to the sample picture: the first class."""

    class_name: str
    probability: float
    class_index: int


@dataclass
class PeerInfo:
    """The facts about a peer that reports need.

    Attributes:
        is_image: whether it is a custom image, so that a cold start neither sends nor unpacks it.
        versions: version by package.
        answer: its answer to the sample picture; None if there was none.
        problem: why it was not measured; empty if it was.
    """

    is_image: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    answer: Answer | None = None
    problem: str = ""


@dataclass
class Size:
    """The size of what is deployed; `over_limit` are the bytes that OpenWhisk does not take."""

    zip: int
    unpacked: int
    files: int
    over_limit: int = 0


@dataclass
class Warm:
    """The warm activations of one peer.

    Attributes:
        ms: time of each, measured outside the action.
        right: labelled pictures whose first class was the label; None without labels.
        labelled: labelled pictures that were sent.
    """

    ms: list[float]
    right: int | None = None
    labelled: int = 0


@dataclass
class Memory:
    """The memory of an action's process after its warm activations; `peak` is since its start."""

    resident: int
    private: int
    peak: int


@dataclass
class Cold:
    """The cold starts of one peer: medians by stage (of bench/measure/cold.py), and each total."""

    stages: dict[str, float]
    total: float
    ms: list[float]


@dataclass(kw_only=True)
class Run:
    """A benchmark run: where, when and how it was measured, then the results of each suite.

    Attributes:
        version: of the layout of the file.
        machine: the machine it ran on.
        date: the day, as YYYY-MM-DD.
        pictures: number of pictures that the warm activations sent.
        picture_bytes: median size of their files.
        model: name of the model.
        command: command line, without the user's paths.
        minutes: duration.
        problems: reason for what ended early, by suite and peer.
        peers: facts by peer.
        proxy_factor: this machine's time for hello world by the time on the machine whose proxy was
            measured; the proxy's times are multiplied by it.
    """

    version: Literal[4] = VERSION
    machine: Machine
    date: str
    pictures: int
    picture_bytes: int
    model: str = ""
    command: str = ""
    minutes: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)
    peers: dict[str, PeerInfo] = field(default_factory=dict)
    size: dict[str, Size] = field(default_factory=dict)
    warm: dict[str, Warm] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    proxy_factor: float | None = None
    cold: dict[str, Cold] = field(default_factory=dict)

    def typical(self, suite: str, peer: str) -> float | None:
        """Return the bytes of `size` or `memory`, or the median ms of `warm` or `cold`, if any."""
        if suite == "warm":
            return statistics.median(self.warm[peer].ms) if peer in self.warm else None
        if suite == "cold":
            return self.cold[peer].total if peer in self.cold else None
        if suite == "size":
            return self.size[peer].zip if peer in self.size else None
        return self.memory[peer].resident if peer in self.memory else None


def format_run(run: Run) -> str:
    """Return a run as JSON text; the same run gives the same bytes."""
    text = msgspec.json.format(msgspec.json.encode(run), indent=1).decode()
    # One line per list of numbers, not one line per number.
    lists = re.compile(r"\[[-+\d.,\seE]*\]")
    return lists.sub(lambda numbers: re.sub(r"\s+", " ", numbers[0]), text) + "\n"


def read_run(path: Path) -> Run:
    """Read a run from a file; raises BuildError if it holds none of this version."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Run)
    except (OSError, msgspec.MsgspecError) as error:
        raise BuildError(
            f"{path}: expected results of version {VERSION}, found: {error}",
            "python3 -m bench writes such a file",
        ) from error


def run_path(run: Run, folder: Path = FOLDER) -> Path:
    """Return the path of a run's file: its name is the CPU class."""
    return folder / f"{run.machine.cpu_class.slug}.json"


def read_runs(folder: Path = FOLDER) -> list[Run]:
    """Read the stored runs in the order of the CPU classes; raises BuildError."""
    runs = map(read_run, folder.glob("*.json"))
    return sorted(runs, key=lambda run: CPU_CLASSES.index(run.machine.cpu_class))
