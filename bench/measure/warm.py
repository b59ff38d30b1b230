"""Warm activations: each picture goes to each peer in turn, as a line on its standard input.

The peers' processes live side by side, as on a node; what else the machine does hits all alike,
and each finds the caches as the others left them. Beside them the bare interpreter runs the network
that our zip ships on one picture: the floor for what is around it. Nobody's answer is taken on
trust: the classes are held against the labels.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench import results
from bench.measure.interpreter import Worker
from bench.peers.peer import PYTHON, Peer, line, memory, network, shuffled
from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.packages import DEFAULT_OPTIONS
from builder.packages.providers import PROVIDERS

BARE = "bare interpreter"
SHARE = 100.0
"""Milliseconds per round that a peer may take on average: a slower one sits out most rounds."""


@dataclass(frozen=True)
class Pictures:
    """What is sent.

    Attributes:
        contents: file name -> file.
        truth: file name -> index of the class in the picture, background as 0; may be empty.
    """

    contents: dict[str, bytes]
    truth: dict[str, int]


@dataclass
class Series:
    """What one peer did.

    Attributes:
        every: in which rounds it takes part: those whose number this divides.
        ms: per activation, seen from outside.
        stages: milliseconds per stage, as our details give them.
        right: labelled picture -> whether the first class was the labelled one.
    """

    every: int = 1
    ms: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    right: dict[str, bool] = field(default_factory=dict)

    def result(self) -> results.Warm:
        """As it is stored."""
        stages = {stage: statistics.median(ms) for stage, ms in self.stages.items()}
        stages.pop("init", None)
        return results.Warm(
            ms=[round(ms, 3) for ms in self.ms],
            stages={stage: round(ms, 3) for stage, ms in stages.items()},
            right=sum(self.right.values()) if self.right else None,
            labelled=len(self.right),
        )


def measure(
    peers: Sequence[Peer],
    bare: Worker,
    pictures: Pictures,
    count: int,
    run: results.Run,
    progress: Callable[[str], None],
) -> None:
    """Fill the run's `warm` and `memory`.

    What was measured up to an interrupt is filled in as well. A peer that dies, or answers with an
    error, takes no part in further rounds; what it did until then stays, and the run's `problems`
    say so.

    Args:
        peers: who answers.
        bare: an interpreter with our network.
        pictures: sent one after the other, as often as it takes.
        count: rounds, so activations of each peer that is fast enough to be in all.
        run: the results.
        progress: told what is going on.
    """
    names = list(pictures.contents)
    series = {BARE: Series(), **{peer.name: Series() for peer in peers}}
    actions: dict[str, actionloop.RunningAction] = {}
    alone: Worker | None = bare

    def failed(name: str, error: BuildError) -> None:
        run.problems[f"warm, {name}"] = str(error)
        actions.pop(name, None)

    with ExitStack() as running:
        try:
            for peer in peers:
                progress(f"starting {peer.name}")
                try:
                    actions[peer.name] = running.enter_context(peer.launched())
                    first = pictures.contents[names[0]]
                    series[peer.name].every = _every(actions[peer.name], first, names)
                except BuildError as error:
                    failed(peer.name, error)
            for number in range(count):
                progress(f"warm: round {number + 1} of {count}")
                picture = names[number % len(names)]
                if alone:
                    try:
                        series[BARE].ms.append(alone.inference())
                    except BuildError as error:
                        failed(BARE, error)
                        alone = None
                for name in shuffled(list(actions), number):
                    if number % series[name].every == 0:
                        try:
                            once(actions[name], picture, pictures, series[name])
                        except BuildError as error:
                            failed(name, error)
        finally:
            for name, action in actions.items():
                with suppress(OSError, KeyError):  # one that has just ended has no memory
                    run.memory[name] = memory(action.pid)
            run.warm = {name: each.result() for name, each in series.items() if each.ms}


def once(action: actionloop.RunningAction, name: str, pictures: Pictures, series: Series) -> None:
    """One activation; raises BuildError if its answer is not one."""
    packed = line(pictures.contents[name], details=True)
    began = time.perf_counter()
    answer = action.send(packed)
    series.ms.append((time.perf_counter() - began) * 1000)
    if not answer.get("results"):
        raise BuildError(f"{name}: expected results, found {json.dumps(answer)[:500]}")
    for stage, ms in answer.get("details", {}).get("timings", {}).items():
        series.stages.setdefault(stage, []).append(ms)
    if name in pictures.truth:
        series.right[name] = answer["results"][0]["classIndex"] == pictures.truth[name]


def _every(action: actionloop.RunningAction, content: bytes, pictures: Sequence[str]) -> int:
    """In which rounds to take part, by three activations; over time in those of all pictures."""
    packed, took = line(content), []
    for _ in range(3):
        began = time.perf_counter()
        action.send(packed)
        took.append((time.perf_counter() - began) * 1000)
    every = max(1, round(min(took) / SHARE))
    while math.gcd(every, len(pictures)) != 1:
        every += 1
    return every


def bare(peer: Peer, console: Console, provider: str) -> Worker:
    """The interpreter of our zip with our zip's network, and nothing else."""
    packages = PROVIDERS[provider](PYTHON, DEFAULT_OPTIONS, console).folder
    model = network(peer.archive, peer.unpacked())
    return Worker(BARE, peer.interpreter, [packages], model)


def pictures(folder: Path | None, labels: Path | None) -> Pictures:
    """What to send: a folder's JPEGs in order of their names, or the sample picture.

    Args:
        folder: with files *.jpg or *.jpeg, in any case.
        labels: TSV with a head: file name, and class index with background as 0.

    Raises:
        BuildError: no pictures, a labels file of another form, or one that names none of them.
    """
    if folder is None:
        return Pictures({SAMPLE.name: SAMPLE.read_bytes()}, {})
    if not folder.is_dir():
        raise BuildError(f"--images: expected a folder with JPEGs, found {folder}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise BuildError(f"--images: expected a folder with JPEGs, found none in {folder}")
    contents = {path.name: path.read_bytes() for path in files}
    truth = _truth(labels) if labels else {}
    if labels and not truth.keys() & contents.keys():
        raise BuildError(f"--labels: expected names of files in {folder}, found none in {labels}")
    return Pictures(contents, truth)


def _truth(labels: Path) -> dict[str, int]:
    try:
        with labels.open(encoding="utf-8", newline="") as file:
            return {
                row[0]: int(row[1]) for row in list(csv.reader(file, delimiter="\t"))[1:] if row
            }
    except (OSError, ValueError, IndexError) as error:
        raise BuildError(
            f"--labels: expected a TSV with a head: file name, class index; found {labels}: {error}"
        ) from error
