"""Ranked classes, errors and measurements -> the JSON of an answer: plain Python values only."""

from __future__ import annotations

import os
import sys
from time import perf_counter

from action.request import ActionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from action.classifier import Ranked

    Answer = dict[str, Any]

_INTERNAL = "internal error: the picture could not be classified; the activation's log says why"

try:
    _STATM = os.open("/proc/self/statm", os.O_RDONLY)  # once: opening it takes longer than reading
    _PAGE = os.sysconf("SC_PAGE_SIZE")
except OSError:  # not Linux
    _STATM = -1


class Timings:
    """How an activation begins, and the seconds spent in it so far, by stage."""

    def __init__(self, start: str = "cold", init_ms: float = 0.0) -> None:
        self.start = start
        self.init_ms = init_ms
        self.decode = 0.0
        self.classify = 0.0
        self._began = perf_counter()

    def milliseconds(self) -> dict[str, float]:
        """The stages and the total up to now, in ms."""
        total = perf_counter() - self._began
        stages = {"decode": self.decode, "classify": self.classify, "total": total}
        return {name: round(seconds * 1000, 3) for name, seconds in stages.items()}


def results(ranked: list[Ranked], details: bool) -> list[Answer]:
    """The `results` list: className and probability, most probable first."""
    answer: list[Answer] = []
    for item in ranked:
        entry: Answer = {"className": item.label, "probability": item.score}
        if item.background:  # for those who show answers to people: this class means none
            entry["background"] = True
        if details:
            entry["classIndex"] = item.position
            if item.wordnet_id:
                entry["wordnetId"] = item.wordnet_id
        answer.append(entry)
    return answer


def failure(error: Exception) -> Answer:
    """What the client sees of an error: its text if it can mend it, else only that it happened."""
    if isinstance(error, ActionError):
        return {"error": str(error)}
    import traceback  # takes longer to import than the function itself

    traceback.print_exception(error)
    return {"error": _INTERNAL}


def rss_mb() -> float:
    """Resident memory of this process in MB (10^6 bytes)."""
    if _STATM >= 0:
        return round(int(os.pread(_STATM, 99, 0).split()[1]) * _PAGE / 1e6, 1)
    import resource  # the peak is the nearest thing that the standard library knows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
