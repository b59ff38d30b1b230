"""The smoke test: a finished zip has to classify the sample picture, cold and then warm."""

import base64
import json
import statistics
import time
from pathlib import Path
from textwrap import shorten
from typing import Any

from builder.artifact.actionloop import start_action
from builder.base.errors import SmokeError
from builder.base.files import last_lines
from builder.base.paths import SAMPLE as SAMPLE


def run_smoke_test(archive: Path, interpreter: str, sample: Path, expected: str) -> dict[str, Any]:
    """Send a sample picture to the zip, cold and then warm.

    Args:
        archive: the zip.
        interpreter: path of a CPython of the zip's version.
        sample: a picture.
        expected: WordNet id that the sample must get first; empty to take any answer.

    Returns:
        `results`, `init`, `first` and `warm` (median of 5) in seconds, `rss` in MB, `nodes` of the
        model's graph and where they run, and `log`.

    Raises:
        SmokeError: it did not answer, or not as expected.
    """
    image = base64.b64encode(sample.read_bytes()).decode()
    with start_action(archive, interpreter) as action:
        seconds, answers = [], []
        for _ in range(6):
            began = time.perf_counter()
            answers.append(action.run({"image": image, "details": True}))
            seconds.append(time.perf_counter() - began)
        log = action.log()
        init = action.init_seconds
    first = answers[0]
    for number, answer in enumerate(answers, 1):
        which = f"activation {number} of {len(answers)}"
        if not isinstance(answer, dict) or "error" in answer or not answer.get("results"):
            raise SmokeError(f"{which}: the sample picture got {_brief(answer)}\n{last_lines(log)}")
        found = answer["results"][0]
        if expected and found.get("wordnetId") != expected:
            raise SmokeError(f"{which}: the sample picture must be {expected}, found {found}")
        if answer["results"] != first["results"]:
            raise SmokeError(
                f"{which}: the same picture must get the same answer, found "
                f"{_brief(first['results'])} at first and then {_brief(answer['results'])}"
            )
    try:
        return {
            "results": first["results"],
            "init": init,
            "first": seconds[0],
            "warm": statistics.median(seconds[1:]),
            "rss": max(answer["details"]["memory"]["rss"] for answer in answers),
            "nodes": first["details"]["model"]["nodes"],
            "log": log,
        }
    except (KeyError, TypeError) as error:
        raise SmokeError(f"the answers lack a detail that was asked for: {error}") from error


def _brief(answer: Any) -> str:
    return shorten(json.dumps(answer, ensure_ascii=False), 500, placeholder=" ...")
