"""The warm suite: each picture goes to each peer in turn, as a line on its standard input.

All processes live side by side, as on a node, and each finds the caches as the others left them.
The bare interpreter, without an action around it, runs our zip's model on one picture: the floor.
Answers are compared with the labels.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

from bench.measure.activation import Pictures, encode_activation, time_activation
from bench.measure.inference import start_interpreter
from bench.measure.memory import read_memory
from bench.measure.rounds import Progress, take_turns
from bench.peers.peer import PYTHON, Peer, extract_model
from bench.results import Run, Warm
from builder.artifact.actionloop import RunningAction
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.packages import DEFAULT_OPTIONS
from builder.packages.providers import PROVIDERS

BARE = "bare interpreter"
# Average milliseconds per round that a peer may take: a slower one joins only some rounds.
MS_PER_ROUND = 100.0


@dataclass
class WarmSeries:
    """The activations of one peer.

    Attributes:
        every: N, if it joins every Nth round.
        ms: time of each, measured outside the action.
        stages: milliseconds per stage, as the answers' details report them.
        right: labelled picture -> whether the first class was the label.
    """

    every: int = 1
    ms: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    right: dict[str, bool] = field(default_factory=dict)

    def add_activation(self, action: RunningAction, name: str, pictures: Pictures) -> None:
        """Send one picture and keep the figures; raises BuildError."""
        line = encode_activation(pictures.contents[name], details=True)
        ms, answer = time_activation(action, line)
        self.ms.append(ms)
        for stage, spent in answer.get("details", {}).get("timings", {}).items():
            self.stages.setdefault(stage, []).append(spent)
        if name in pictures.labels:
            self.right[name] = answer["results"][0]["classIndex"] == pictures.labels[name]

    def summarize(self) -> Warm:
        """Return the figures to store."""
        stages = {
            stage: round(statistics.median(ms), 3)
            for stage, ms in self.stages.items()
            if stage != "init"
        }
        right = sum(self.right.values()) if self.right else None
        return Warm([round(ms, 3) for ms in self.ms], stages, right, len(self.right))


def measure_warm(
    peers: Sequence[Peer],
    infer: Callable[[], float],
    pictures: Pictures,
    rounds: int,
    run: Run,
    progress: Progress,
) -> None:
    """Fill the run's `warm` and `memory`, also when an interrupt ends it.

    `infer` runs our zip's model in the bare interpreter and returns milliseconds. The pictures are
    sent one after the other, again and again.
    """
    names = list(pictures.contents)
    series = {BARE: WarmSeries(), **{peer.name: WarmSeries() for peer in peers}}
    actions: dict[str, RunningAction] = {}

    def join_round(name: str, number: int) -> None:
        if number % series[name].every == 0:
            series[name].add_activation(actions[name], names[number % len(names)], pictures)

    with ExitStack() as running:
        try:
            for peer in peers:
                progress(f"starting {peer.name}")
                try:
                    action = running.enter_context(peer.launched())
                    first = pictures.contents[names[0]]
                    series[peer.name].every = choose_interval(action, first, len(names))
                    actions[peer.name] = action
                except BuildError as error:
                    run.problems[f"warm, {peer.name}"] = str(error)
            participants: dict[str, Callable[[int], None]] = {
                name: partial(join_round, name) for name in actions
            }
            participants[BARE] = lambda _: series[BARE].ms.append(infer())
            take_turns(participants, rounds, "warm", run, progress)
        finally:
            for name, action in actions.items():
                with suppress(OSError, KeyError):  # a process that has ended has no memory
                    run.memory[name] = read_memory(action.pid)
            run.warm = {name: each.summarize() for name, each in series.items() if each.ms}


def choose_interval(action: RunningAction, picture: bytes, pictures: int) -> int:
    """Return N, to run every Nth round; N comes from three trial activations.

    N and the number of pictures have no common divisor, so that the peer gets all pictures in time.
    """
    line = encode_activation(picture)
    fastest = min(time_activation(action, line)[0] for _ in range(3))
    every = max(1, round(fastest / MS_PER_ROUND))
    while math.gcd(every, pictures) != 1:
        every += 1
    return every


def start_bare_interpreter(
    peer: Peer, console: Console, provider: str
) -> AbstractContextManager[Callable[[], float]]:
    """Start the interpreter of our zip with our zip's model."""
    packages = PROVIDERS[provider](PYTHON, DEFAULT_OPTIONS, console).folder
    return start_interpreter(
        peer.executable, packages, extract_model(peer.archive, peer.unpacked())
    )
