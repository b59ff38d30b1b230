"""The warm suite: each picture goes to each peer in turn, as a line on its standard input.

All processes live side by side, as on a node, and each finds the caches as the others left them.
The bare interpreter runs our zip's model on one picture: the floor. Answers are compared with the
labels. The memory of each process is read at the end.
"""

from __future__ import annotations

import math
import statistics
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from bench.measure.activation import encode_activation, time_activation
from bench.measure.bare_interpreter import start_inferences
from bench.measure.memory import read_memory
from bench.peers.ours import find_packages
from bench.peers.peer import extract_model
from bench.pictures import Pictures
from bench.results import Warm
from bench.session import Session
from builder.artifact.actionloop import RunningAction
from builder.base.errors import BuildError

BARE = "bare interpreter"
# Average milliseconds per round that a peer may take: a slower one joins only some rounds.
MS_PER_ROUND = 100.0


@dataclass
class WarmPeer:
    """A peer that runs, and its activations so far.

    Attributes:
        action: its process.
        pictures: are sent one after the other, again and again.
        every: N, if it joins every Nth round.
        ms: time of each activation, measured outside the action.
        stages: milliseconds per stage, as the answers' details report them.
        right: labelled picture -> whether the first class was the label.
    """

    action: RunningAction
    pictures: Pictures
    every: int
    ms: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    right: dict[str, bool] = field(default_factory=dict)

    def join_round(self, number: int) -> None:
        """Send the picture of a round, if the peer joins it; raises BuildError."""
        if number % self.every:
            return
        names = list(self.pictures.contents)
        name = names[number % len(names)]
        line = encode_activation(self.pictures.contents[name], details=True)
        ms, answer = time_activation(self.action, line)
        self.ms.append(round(ms, 3))
        for stage, stage_ms in answer.get("details", {}).get("timings", {}).items():
            self.stages.setdefault(stage, []).append(stage_ms)
        if name in self.pictures.labels:
            self.right[name] = answer["results"][0]["classIndex"] == self.pictures.labels[name]

    def summarize(self) -> Warm:
        """Return the peer's results."""
        self.stages.pop("init", None)
        stages = {stage: round(statistics.median(ms), 3) for stage, ms in self.stages.items()}
        right = sum(self.right.values()) if self.right else None
        return Warm(self.ms, stages, right, len(self.right))


def measure_warm(session: Session) -> None:
    """Fill the run's `warm` and `memory`, also when an interrupt ends it."""
    run, pictures, ours = session.run, session.pictures, session.peers[0]
    first = next(iter(pictures.contents.values()))
    running_peers: dict[str, WarmPeer] = {}
    bare = Warm([])
    model = extract_model(ours.archive, ours.unpacked)
    with ExitStack() as running:
        infer = running.enter_context(start_inferences(ours.executable, find_packages(), model))
        try:
            for peer in session.peers:
                session.show_progress(f"starting {peer.name}")
                try:
                    action = running.enter_context(peer.launched())
                    every = choose_interval(action, first, len(pictures.contents))
                    running_peers[peer.name] = WarmPeer(action, pictures, every)
                except BuildError as error:
                    run.problems[f"warm, {peer.name}"] = str(error)
            joining = {name: each.join_round for name, each in running_peers.items()}
            bare_round = {BARE: lambda _: bare.ms.append(round(infer(), 3))}
            session.take_turns("warm", bare_round | joining)
        finally:
            for name, each in running_peers.items():
                with suppress(OSError, KeyError):  # a process that has ended has no memory
                    run.memory[name] = read_memory(each.action.pid)
            measured = {name: each.summarize() for name, each in running_peers.items()}
            run.warm = {name: each for name, each in {BARE: bare, **measured}.items() if each.ms}


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
