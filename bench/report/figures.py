"""Picks the figures that reports show: one per peer and suite, without peers that failed."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

from bench.peers import pip
from bench.peers.ours import OURS
from bench.report.markdown import format_mb
from bench.results import Run

# The pip-made zip that ours is compared with.
PIP = pip.peer_name(pip.TFLITE_RUNTIME)


def select_peers(run: Run, variants: bool = True) -> Run:
    """Return a copy without failed peers, and maybe without our zips with unusual options."""
    names = {
        name
        for name, info in run.peers.items()
        if info.problem or (info.is_variant and not variants)
    }
    fields: dict[str, Any] = {}
    for each in dataclasses.fields(run):
        value = getattr(run, each.name)
        if isinstance(value, dict) and each.name != "problems":
            fields[each.name] = {name: part for name, part in value.items() if name not in names}
    fields["inference"] = [each for each in run.inference if each.peer not in names]
    return dataclasses.replace(run, **fields)


def find_figure(run: Run, suite: str, name: str) -> float | None:
    """Return a peer's figure: bytes of `size` or `memory`, ms of `warm` or `cold`."""
    if suite == "warm":
        warm = run.warm.get(name)
        return statistics.median(warm.ms) if warm and warm.ms else None
    if suite == "cold":
        return run.cold[name].total if name in run.cold else None
    if suite == "size":
        return run.size[name].zip if name in run.size else None
    return run.memory[name].resident if name in run.memory else None


def has_glance(run: Run) -> bool:
    """Return whether all that the plot compares was measured, of our zip and of pip's."""
    suites = ("size", "cold", "warm", "memory")
    return all(find_figure(run, suite, name) for suite in suites for name in (OURS, PIP))


def deployment_note(run: Run, name: str) -> str:
    """Return why a peer cannot be deployed as a zip; empty if it can."""
    size, info = run.size.get(name), run.peers.get(name)
    if size and size.over_limit:
        return f"cannot be deployed: {format_mb(size.over_limit)} MB over the limit"
    return "in a custom image" if info and info.is_image else ""
