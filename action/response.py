"""Ranked classes and measurements -> the JSON of an answer: plain Python values only."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from action.classifier import Ranked

try:
    _STATM = os.open("/proc/self/statm", os.O_RDONLY)  # once: opening it takes longer than reading
    _PAGE = os.sysconf("SC_PAGE_SIZE")
except OSError:  # not Linux
    _STATM = -1


def results(ranked: list[Ranked], details: bool) -> list[dict[str, Any]]:
    """The `results` list: className and probability, most probable first."""
    answer: list[dict[str, Any]] = []
    for item in ranked:
        entry: dict[str, Any] = {"className": item.label, "probability": item.score}
        if details:
            entry["classIndex"] = item.position
            if item.wordnet_id:
                entry["wordnetId"] = item.wordnet_id
        answer.append(entry)
    return answer


def rss_mb() -> float:
    """Resident memory of this process in MB (10^6 bytes)."""
    if _STATM >= 0:
        return round(int(os.pread(_STATM, 99, 0).split()[1]) * _PAGE / 1e6, 1)
    import resource  # the peak is the nearest thing that the standard library knows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
