"""A benchmark in progress: the peers that take part, in how many rounds, and the results so far."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.peers.peer import Peer
from bench.pictures import Pictures
from bench.results import Run
from builder.base.errors import BuildError


@dataclass
class Session:
    """What the suites share.

    Attributes:
        run: the results so far.
        pictures: for the warm activations.
        rounds: number of rounds by suite.
        show_progress: is called with a line of progress.
        peers: those that answered rightly, our zip first.
    """

    run: Run
    pictures: Pictures
    rounds: dict[str, int]
    show_progress: Callable[[str], None]
    peers: list[Peer] = field(default_factory=list)

    def take_turns(self, suite: str, participants: Mapping[str, Callable[[int], None]]) -> None:
        """Call each participant once per round of a suite, in another order each time.

        So other load on the machine hits all of them alike. A participant is a function of the
        round's number. One that raises BuildError leaves: its results so far stay, and the run's
        `problems` get the reason.
        """
        active, rounds = dict(participants), self.rounds[suite]
        for number in range(rounds):
            if number % max(1, rounds // 40) == 0:
                self.show_progress(f"{suite}: round {number + 1} of {rounds}")
            for name in random.Random(number).sample(list(active), len(active)):
                try:
                    active[name](number)
                except BuildError as error:
                    self.run.problems[f"{suite}, {name}"] = str(error)
                    del active[name]
