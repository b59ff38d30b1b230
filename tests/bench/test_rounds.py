"""Rounds of participants that take turns: one that fails leaves."""

from __future__ import annotations

from bench.measure.rounds import take_turns
from builder.base.errors import BuildError
from tests.support.runs import empty_run


def test_failing_participant_leaves_and_others_go_on() -> None:
    joined: list[tuple[int, str]] = []
    run = empty_run()

    def fail_in_third_round(number: int) -> None:
        if number == 2:
            raise BuildError("the action died")
        joined.append((number, "fails"))

    participants = {
        "fails": fail_in_third_round,
        "first": lambda number: joined.append((number, "first")),
        "second": lambda number: joined.append((number, "second")),
    }
    take_turns(participants, 20, "warm", run, lambda _: None)
    assert len([name for _, name in joined if name == "fails"]) == 2
    assert len(joined) == 2 + 2 * 20
    assert run.problems == {"warm, fails": "the action died"}
    assert len({name for _, name in joined[-20::2]}) == 2  # the order changes
