"""The smoke test: a finished zip has to classify the sample picture, cold and then warm."""

import base64
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from builder.artifact.actionloop import RunningAction, start_action
from builder.base.errors import ModelError, SmokeError
from builder.base.paths import SAMPLE as SAMPLE
from builder.base.processes import last_lines
from builder.model.agreement import Trial, compare_results

WAY_OUT = "--runtime wheels ships the newest interpreter, the one of the trial"
_ACTIVATIONS = 6


@dataclass(frozen=True)
class SmokeResult:
    """What a zip answered for the sample picture.

    Attributes:
        results: its classes.
        init: seconds from the start of the process to its acknowledgement.
        first: seconds of the first activation.
        warm: median seconds of those after it.
        rss: most memory of the process, in MB.
        nodes: of the model's graph, and where they run.
        log: what the action printed.
        compared: how many pictures were compared with the trial's answers.
        difference: the most by which the likeliest class's probability differed from the trial's.
    """

    results: list[dict[str, Any]]
    init: float
    first: float
    warm: float
    rss: float
    nodes: dict[str, Any]
    log: str
    compared: int = 0
    difference: float = 0.0


def run_smoke_test(
    archive: Path, python: str, sample: Path, expected: str, trial: Trial | None = None
) -> SmokeResult:
    """Send a sample picture to the zip several times, and compare its answers with a trial's.

    `expected` is the WordNet id that the sample must get first; empty to take any answer.

    Raises:
        SmokeError: it did not answer, or not as expected.
    """
    image = base64.b64encode(sample.read_bytes()).decode()
    with start_action(archive, python) as action:
        seconds, answers = [], []
        for _ in range(_ACTIVATIONS):
            began = time.perf_counter()
            answers.append(action.run({"image": image, "details": True}))
            seconds.append(time.perf_counter() - began)
        log = action.log()
        difference = _compare(action, trial) if trial else 0.0
    for number, answer in enumerate(answers, 1):
        if problem := _find_problem(answer, answers[0], expected):
            raise SmokeError(f"activation {number} of {len(answers)}: {problem}\n{last_lines(log)}")
    try:
        return SmokeResult(
            results=answers[0]["results"],
            init=action.init_seconds,
            first=seconds[0],
            warm=statistics.median(seconds[1:]),
            rss=max(answer["details"]["memory"]["rss"] for answer in answers),
            nodes=answers[0]["details"]["model"]["nodes"],
            log=log,
            compared=len(trial.pictures) if trial else 0,
            difference=round(difference, 6),
        )
    except (KeyError, TypeError) as error:
        raise SmokeError(f"the answers lack a detail that was asked for: {error}") from error


def _compare(action: RunningAction, trial: Trial) -> float:
    """Return the most by which an answer differs from the trial's; raise SmokeError if too far."""
    differences = [0.0]
    for (name, picture), scores in zip(trial.pictures.items(), trial.scores, strict=True):
        image = base64.b64encode(picture).decode()
        answer = action.run({"image": image, "topK": len(scores), "details": True})
        try:
            differences.append(compare_results(answer["results"], scores, trial.factor))
        except (KeyError, TypeError):
            raise SmokeError(f"the picture {name} got {_shorten(answer)}") from None
        except ModelError as error:
            raise SmokeError(
                f"the zip's interpreter disagrees with the trial's on the picture {name}: {error}",
                WAY_OUT,
            ) from error
    return max(differences)


def _find_problem(answer: Any, first: Any, expected: str) -> str:
    """Return what is wrong with an answer; empty if nothing is."""
    if not isinstance(answer, dict) or "error" in answer or not answer.get("results"):
        return f"the sample picture got {_shorten(answer)}"
    best = answer["results"][0]
    if expected and best.get("wordnetId") != expected:
        return f"the sample picture must be {expected}, found {best}"
    if answer["results"] != first["results"]:
        return (
            "the same picture must get the same answer, found "
            f"{_shorten(first['results'])} at first and then {_shorten(answer['results'])}"
        )
    return ""


def _shorten(answer: Any) -> str:
    return shorten(json.dumps(answer, ensure_ascii=False), 500, placeholder=" ...")
