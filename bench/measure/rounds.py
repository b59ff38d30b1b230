"""Rounds: participants take turns, so that other load on the machine hits all of them alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from bench.results import Run
from builder.base.errors import BuildError

Progress = Callable[[str], None]


def take_turns(
    participants: Mapping[str, Callable[[int], None]],
    rounds: int,
    suite: str,
    run: Run,
    progress: Progress,
) -> None:
    """Call each participant once per round, in another order each time.

    A participant is a function of the round's number. One that raises BuildError leaves: its
    figures so far stay, and the run's `problems` get the reason.
    """
    active = dict(participants)
    for number in range(rounds):
        progress(f"{suite}: round {number + 1} of {rounds}")
        for name in random.Random(number).sample(list(active), len(active)):
            try:
                active[name](number)
            except BuildError as error:
                run.problems[f"{suite}, {name}"] = str(error)
                del active[name]
