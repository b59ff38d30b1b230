"""Runs of the measurements, to be filled."""

from __future__ import annotations

import dataclasses

from bench.machine import Machine
from bench.results import Rounds, Run, Sent

VNNI = Machine(
    "Some Processor",
    ("AVX2", "AVX512F", "AVX512BW", "AVX512-VNNI"),
    2,
    25 * 10**9,
    "Linux 6.8",
    "3.11.7",
)
AVX2 = dataclasses.replace(VNNI, processor="Another Processor", instructions=("AVX2",))


def empty() -> Run:
    """A run with nothing measured."""
    return Run(
        machine=VNNI,
        date="2026-11-22",
        model="mobilenet_v1",
        command="python -m bench --images DIR --labels FILE",
        sent=Sent(200, 113000, labelled=True),
        rounds=Rounds(1000, 40, 200, quick=False),
    )
