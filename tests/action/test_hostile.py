"""Hostile pictures and parameters: each gets an answer, and so does the next activation.

Run on built zips: with wheels, and with compiled packages if they are in the cache.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.measure.memory import read_memory
from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from tests.conftest import HERE, at_hand, base64_of, encoded, interpreter
from tests.support import hostile

ESPRESSO = base64_of(SAMPLE)
SLOW = base64_of(hostile.png((7400, 7400), bits=1, interlaced=1))
# CPU time of an activation: reading pictures stops after four seconds.
MAX_SECONDS = 10.0


class Victim:
    """A running zip, and its answer for the sample."""

    def __init__(self, running: actionloop.RunningAction) -> None:
        self.running = running
        self.expected = running.run({"image": ESPRESSO})
        assert self.expected["results"][0]["className"] == "espresso"

    def survives(self, sent: bytes | dict[str, Any]) -> Any:
        """Send a line or parameters, then the sample, whose answer must not change."""
        began = self.cpu_seconds()
        answer = self.running.send(sent) if isinstance(sent, bytes) else self.running.run(sent)
        assert self.cpu_seconds() - began < MAX_SECONDS
        answers = [answer, *answer.get("predictions", ())]
        for error in (each["error"] for each in answers if "error" in each):
            assert "internal error" not in error
            assert "Traceback" not in error and ".py" not in error
            assert len(error) < 300
        assert self.running.run({"image": ESPRESSO}) == self.expected
        return answer

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module", params=["wheels", "local"])
def victim(
    request: pytest.FixtureRequest, make_zip: Callable[..., Path], imagenet_model: str
) -> Iterator[Victim]:
    if request.param == "local" and at_hand() == "wheels":
        pytest.skip("nothing compiled: run  python build_zip.py --runtime local  first")
    archive = make_zip(HERE, imagenet_model, provider=request.param)
    with actionloop.start_action(archive, interpreter()) as running:
        started = Victim(running)
        yield started
        if request.param == "local":  # wheels alone take twice the memory
            assert read_memory(running.pid).peak < 128_000_000


def test_bombs_are_decoded_or_refused_in_time(victim: Victim) -> None:
    results = 0
    for name, content in hostile.bombs():
        assert len(content) <= 1_200_100, name
        answer = victim.survives({"image": base64_of(content)})
        assert list(answer) in (["results"], ["error"]), name
        results += "results" in answer
    assert results > 10


def test_first_frame_smaller_than_the_canvas(victim: Victim) -> None:
    """The rest of an opaque WebP is black."""
    content = bytearray(hostile.frames("WebP", 4))
    for side in (24, 27):
        content[side] += 8
    larger = Image.new("RGB", (16, 16))
    larger.paste("red", (0, 0, 8, 8))
    answer = victim.survives({"image": base64_of(bytes(content))})
    expected = victim.running.run({"image": base64_of(encoded(larger))})
    assert answer["results"][0]["className"] == expected["results"][0]["className"]


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_corrupt_pictures_get_our_own_error_texts(
    victim: Victim, kind: str, thorough: bool
) -> None:
    """No decoder's text, and no crash; truncated pictures may be decoded after all."""
    content, chance = hostile.small_picture(kind), random.Random(kind)
    errors, rounds = 0, 20 if thorough else 6
    for _ in range(rounds):
        sent = [base64_of(hostile.corrupt(content, chance)) for _ in range(30)]
        for prediction in victim.survives({"images": sent})["predictions"]:
            if "error" in prediction:
                errors += 1
                assert hostile.ERRORS.fullmatch(prediction["error"]), prediction
    assert errors > 3 * rounds


@pytest.mark.parametrize(("line", "text"), hostile.LINES)
def test_hostile_json_is_answered(victim: Victim, line: bytes, text: str) -> None:
    answer = victim.survives(line)
    answer = answer.get("body", answer)
    assert text in answer["error"] if text else "results" in answer


def test_broken_pictures_leave_the_others_in_a_batch(victim: Victim) -> None:
    bad: list[Any] = ["", "*", None, 7, {}, [], "AAAA", base64_of(hostile.png((9900, 10000))), True]
    answer = victim.survives({"images": [picture for each in bad for picture in (ESPRESSO, each)]})
    assert answer["predictions"][::2] == [victim.expected] * len(bad)
    assert [list(each) for each in answer["predictions"][1::2]] == [["error"]] * len(bad)


def test_cpu_time_of_an_activation_is_bounded(victim: Victim) -> None:
    """What does not fit has an error in its place; the next activation starts from none."""
    began = victim.cpu_seconds()
    predictions = victim.running.run({"images": [ESPRESSO, *[SLOW] * 98, ESPRESSO]})["predictions"]
    assert victim.cpu_seconds() - began < 4 + 2  # one more picture, and the inferences
    assert predictions[0] == victim.expected
    assert "results" in predictions[3]
    assert "out of time: expected at most 4 s" in predictions[-1]["error"]
    assert victim.running.run({"image": ESPRESSO}) == victim.expected


def test_no_picture_is_begun_just_before_the_deadline(victim: Victim) -> None:
    deadline = str(int(time.time() * 1000) + 1500)
    sent = {"value": {"images": [ESPRESSO, *[SLOW] * 50]}, "deadline": deadline}
    predictions = victim.running.send(json.dumps(sent).encode())["predictions"]
    assert predictions[0] == victim.expected
    assert "before the activation's deadline" in predictions[-1]["error"]
    sent["deadline"] = "unknown"
    sent["value"] = {"image": ESPRESSO}
    assert victim.running.send(json.dumps(sent).encode()) == victim.expected
