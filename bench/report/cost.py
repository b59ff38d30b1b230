"""What activations would have cost by the price model of the 2018 article.

An activation is billed for its duration, rounded up to a whole step, times the memory of its
action, in GB-s (1 GB = 1024 MB, as platforms count).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from bench.report.markdown import EMPTY, table
from bench.results import Run
from builder.base.toml import read_toml

ARTICLE = read_toml(Path(__file__).parents[1] / "article.toml")
PRICES: Mapping[str, float] = ARTICLE["prices"]
# Memory that an action may be given, in MB.
MEMORY_SIZES = (128, 256, 512, 1024)
# Bytes that the platform's proxy takes from the action's memory.
PROXY_MEMORY = 40_000_000


def least_memory(peak: float) -> int | None:
    """Return the least MB that hold a process of `peak` bytes and the proxy; None if none do."""
    sizes = (size for size in MEMORY_SIZES if peak + PROXY_MEMORY <= size * 2**20)
    return next(sizes, None)


def billed_ms(ms: float) -> float:
    """Return the milliseconds that are billed for a duration."""
    return math.ceil(ms / PRICES["step_ms"]) * PRICES["step_ms"]


def gb_seconds(ms: float, memory: int) -> float:
    """Return the GB-s that are billed for an activation with `memory` MB."""
    return billed_ms(ms) / 1000 * memory / 1024


def cost_table(run: Run) -> str:
    """Return the costs of warm and of cold activations, per million and free per month."""
    rows = []
    for name, memory in run.memory.items():
        if size := least_memory(memory.peak):
            durations = [run.typical(suite, name) for suite in ("warm", "cold")]
            cells = [cell for ms in durations for cell in _cost_cells(ms, size)]
            rows.append([name, f"{size} MB", *cells])
    head = ["", "memory", "warm, billed", "per million", "free"]
    head += ["cold, billed", "per million", "free"]
    return table(head, rows)


def _cost_cells(ms: float | None, memory: int) -> list[str]:
    if ms is None:
        return [EMPTY] * 3
    used = gb_seconds(ms, memory)
    free = math.floor(PRICES["free_gb_seconds"] / used)
    million = f"${used * 1e6 * PRICES['gb_second']:.2f}"
    return [f"{billed_ms(ms):,.0f} ms", million, f"{free:,}"]
