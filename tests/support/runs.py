"""A benchmark's run and session without results."""

from __future__ import annotations

from bench.machine import Machine
from bench.pictures import Pictures
from bench.results import Run
from bench.session import Session


def empty_run() -> Run:
    """Return a run without results, on a CPU with AVX2."""
    machine = Machine("Some Processor", ("AVX2",), 2, 25 * 10**9, "Linux 6.8", "3.11.7")
    return Run(machine=machine, date="2026-11-22", pictures=200, picture_bytes=113000)


def empty_session(suite: str, rounds: int) -> Session:
    """Return a session with so many rounds of a suite, without peers, pictures and results."""
    return Session(empty_run(), Pictures({}, {}), {suite: rounds}, lambda _: None)
