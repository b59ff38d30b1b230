"""The tables of a run as Markdown, one for each section of the page of results."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

from bench.measure.cold import STAGES
from bench.measure.warm import BARE
from bench.peers import pip
from bench.peers.hello import HELLO_WORLD
from bench.peers.ours import OURS
from bench.report.markdown import (
    EMPTY,
    format_mb,
    format_number,
    format_ratio,
    paragraph,
    percentile,
    table,
)
from bench.results import Run
from builder.base.toml import read_toml

# The pip-made zip that ours is compared with.
PIP = pip.NAMES[pip.TFLITE_RUNTIME]
# Figures and prices of the article of 2018.
ARTICLE = read_toml(Path(__file__).parents[1] / "article.toml")
# Memory that an action may be given, in MB, and the bytes of it that the platform's proxy takes.
MEMORY_SIZES = (128, 256, 512, 1024)
PROXY_MEMORY = 40_000_000


def peers_table(run: Run) -> str:
    """Return the peers' packages, and their answers to the sample picture."""
    rows = []
    for name, info in run.peers.items():
        if answer := info.answer:
            packages = ", ".join(" ".join(each) for each in info.versions.items())
            deployed = deployment_note(run, name) or "as a zip"
            first_class = answer.class_name.partition(",")[0]
            rows.append([name, packages, deployed, first_class, f"{answer.probability:.3f}"])
    head = ["", "packages", "deployed", "answer for the sample", "probability"]
    return table(head, rows, left=4)


def deployment_note(run: Run, name: str) -> str:
    """Return why a peer cannot be deployed as a zip; empty if it can."""
    size = run.size.get(name)
    if size and size.over_limit:
        return f"cannot be deployed: {format_mb(size.over_limit)} MB over the limit"
    return "in a custom image" if run.peers[name].is_image else ""


def size_table(run: Run) -> str:
    """Return the sizes of what is deployed."""
    base = run.typical("size", OURS)
    rows = [
        [
            name,
            deployment_note(run, name),
            format_ratio(size.zip, base),
            format_mb(size.zip),
            format_mb(size.unpacked),
            f"{size.files:,}",
        ]
        for name, size in run.size.items()
    ]
    return table(["", "", f"to {OURS}", "zip", "unpacked", "files"], rows, left=2)


def warm_table(run: Run) -> str:
    """Return the warm activations, measured outside the action."""
    bare, ours = (run.typical("warm", name) for name in (BARE, OURS))
    rows = []
    for name, warm in run.warm.items():
        median = statistics.median(warm.ms)
        spread = [format_number(percentile(warm.ms, percent)) for percent in (10, 90, 99)]
        ratios = [format_ratio(median, ours), format_ratio(median, bare)]
        top_1 = EMPTY if warm.right is None else f"{warm.right / warm.labelled:.3f}"
        rows.append([name, *ratios, format_number(median), *spread, top_1, f"{len(warm.ms):,}"])
    head = ["", f"to {OURS}", "to bare", "median", "10 %", "90 %", "99 %", "top-1", "activations"]
    return table(head, rows)


def cold_table(run: Run) -> str:
    """Return the cold starts by stage, as ratios to hello world first."""
    hello = run.typical("cold", HELLO_WORLD)
    rows = []
    for name, cold in run.cold.items():
        stages = [format_number(cold.stages.get(stage)) for stage in STAGES]
        ratio = format_ratio(cold.total, hello)
        rows.append([name, ratio, format_number(cold.total), *stages, f"{len(cold.ms):,}"])
    parts = [table(["", f"to {HELLO_WORLD}", "total", *STAGES, "rounds"], rows)]
    if any(run.peers[name].is_image for name in run.cold if name in run.peers):
        parts.append("Pulling a custom image is not included.")
    if run.proxy_factor:
        parts.append(
            f"The proxy's times (receive, unzip) are multiplied by {run.proxy_factor:.2f}: hello "
            "world's time here by its time where the proxy was measured."
        )
    return "\n\n".join([parts[0], *map(paragraph, parts[1:])])


def memory_table(run: Run) -> str:
    """Return the memory of the actions' processes."""
    base = run.memory.get(PIP)
    rows = [
        [
            name,
            format_ratio(memory.peak, base.peak if base else None),
            *(format_mb(size, 0) for size in (memory.resident, memory.private, memory.peak)),
        ]
        for name, memory in run.memory.items()
    ]
    return table(["", f"peak to {PIP}", "resident", "private", "peak"], rows)


def cost_table(run: Run) -> str:
    """Return what a million activations would have cost by the prices of the article."""
    rows = []
    for name, memory in run.memory.items():
        needed = (memory.peak + PROXY_MEMORY) / 2**20
        if size := next((size for size in MEMORY_SIZES if size >= needed), None):
            costs = (format_cost(run.typical(suite, name), size) for suite in ("warm", "cold"))
            rows.append([name, f"{size} MB", *costs])
    return table(["", "memory", "warm", "cold"], rows)


def format_cost(ms: float | None, memory: int) -> str:
    """Return the US dollars of a million activations of so many ms, with `memory` MB.

    A duration is rounded up to a whole step. A GB-s has 1024 MB, as platforms count.
    """
    if ms is None:
        return EMPTY
    prices = ARTICLE["prices"]
    seconds = math.ceil(ms / prices["step_ms"]) * prices["step_ms"] / 1000
    return f"${seconds * memory / 1024 * prices['gb_second'] * 1e6:.2f}"
