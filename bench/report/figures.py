"""Which part of a run is shown, and by which figure peers are compared."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

from bench import results
from bench.peers import pip
from bench.peers.peer import OURS, PRECOMPILED
from bench.report import markdown as text
from bench.results import Run

PIP = pip.named(pip.TFLITE_RUNTIME)
"""The zip that ours is compared with."""


def charted(run: Run) -> Run:
    """A run without the peers that answered wrongly or did not start."""
    return _without(run, lambda name: bool(run.peers[name].problem))


def without_variants(run: Run) -> Run:
    """A run without our zip with options that are not usual."""
    usual = (OURS, PRECOMPILED)
    return _without(run, lambda name: name.startswith(OURS) and name not in usual)


def _without(run: Run, unwanted: Callable[[str], bool]) -> Run:
    """A copy without some of the peers, wherever there is something by peer."""
    out = {name for name in run.peers if unwanted(name)}

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: each for name, each in value.items() if name not in out}
        return _of(value) if isinstance(value, results.Scaling) else value

    def _of(parts: Any) -> Any:
        fields = {each.name: kept(getattr(parts, each.name)) for each in dataclasses.fields(parts)}
        return dataclasses.replace(parts, **fields)

    kept_run: Run = _of(run)
    return kept_run


def figure(run: Run, key: str, name: str) -> float | None:
    """What a peer is compared by: bytes of `size` or `memory`, ms `warm` or `cold`."""
    if key == "warm":
        warm = run.warm.get(name)
        return statistics.median(warm.ms) if warm and warm.ms else None
    if key == "cold":
        return run.cold[name].total if name in run.cold else None
    if key == "size":
        return run.size[name].zip if name in run.size else None
    return run.memory[name].resident if name in run.memory else None


def at_a_glance(run: Run) -> bool:
    """Whether all that the one plot compares was measured, of this zip and of pip's."""
    keys = ("size", "cold", "warm", "memory")
    return all(figure(run, key, name) for key in keys for name in (OURS, PIP))


def deployable(run: Run, name: str) -> str:
    """What stands in the way of deploying a peer as a zip, or nothing."""
    size, peer = run.size.get(name), run.peers.get(name)
    if size and size.over:
        return f"cannot be deployed: {text.mb(size.over)} MB over the limit"
    return "in a custom image" if peer and peer.image else ""
