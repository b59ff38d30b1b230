"""What clients send by mistake or on purpose: every activation is answered, the next one rightly.

On built zips: of wheels, and of compiled packages where they were compiled before.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.conftest import HERE, IMAGE, base64_of, encoded, interpreter, plain
from tests.support import hostile
from tests.support.models import ColourModel

ESPRESSO = base64_of(SAMPLE)
PYTHON = next(
    (version for version in ("3.11", HERE) if compiled.is_cached(version, DEFAULT_OPTIONS)), ""
)
SECONDS = 10.0
"""Bound of a test; what it is on an idle machine is reported: 2 s is the aim."""
MEMORY = 128_000_000
PROXY = 34_000_000
"""What OpenWhisk's own process takes of an action's memory, in bytes, with a zip of 5 MB."""


class Victim:
    """A zip that was started, and what it took."""

    def __init__(self, running: actionloop.RunningAction) -> None:
        self.running = running
        self.expected = running.run({"image": ESPRESSO})
        assert self.expected["results"][0]["className"] == "espresso"
        self.slowest = 0.0

    def survives(self, sent: bytes | dict[str, Any]) -> Any:
        """Send a line or parameters, then the sample, which gets what it always does."""
        began = time.perf_counter()
        answer = self.running.send(sent) if isinstance(sent, bytes) else self.running.run(sent)
        seconds = time.perf_counter() - began
        self.slowest = max(self.slowest, seconds)
        assert seconds < SECONDS
        found = [answer, *answer.get("predictions", ())]
        for error in (each["error"] for each in found if "error" in each):
            assert "internal error" not in error
            assert "Traceback" not in error and "/tmp" not in error and ".py" not in error
            assert len(error) < 300
        assert self.running.run({"image": ESPRESSO}) == self.expected
        return answer

    def peak(self) -> int:
        """The most memory that the process ever had, in bytes."""
        lines = Path(f"/proc/{self.running.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.fixture(scope="module", params=["wheels", "compiled"])
def victim(
    request: pytest.FixtureRequest, make_zip: Callable[..., Path], imagenet_model: str
) -> Iterator[Victim]:
    python, provider = (HERE, "wheels") if request.param == "wheels" else (PYTHON, "local")
    if not python:
        pytest.skip("nothing compiled: run  python build_zip.py --runtime local  first")
    archive = make_zip(python, imagenet_model, provider=provider)
    with actionloop.start_action(archive, interpreter(python)) as running:
        found = Victim(running)
        yield found
        print(f"\n{request.param}: {found.peak() / 1e6:.0f} MB, slowest {found.slowest:.2f} s")
        if request.param == "compiled":  # wheels alone take twice the memory
            assert found.peak() < MEMORY


@pytest.mark.filterwarnings("ignore")
def test_bombs(victim: Victim) -> None:
    """Also those that are decoded after all: within the memory, and in time."""
    results = 0
    for name, content in hostile.bombs():
        assert len(content) <= 1_200_100, name
        began = time.perf_counter()
        answer = victim.survives({"image": base64_of(content)})
        seconds = time.perf_counter() - began
        results += "results" in answer
        said = answer.get("error", "results")
        print(f"{name}: {seconds * 1000:.0f} ms, {victim.peak() / 1e6:.0f} MB, {said}")
        assert list(answer) in (["results"], ["error"]), name
    assert results > 15


def test_polyglots_are_pictures(victim: Victim) -> None:
    for name, content in hostile.polyglots():
        answer = victim.survives({"image": base64_of(content)})
        assert "results" in answer, (name, answer)
        if name.startswith("JPEG"):
            assert answer["results"][0]["className"] == "espresso", name


def test_the_first_frame_of_many_counts(victim: Victim) -> None:
    for kind in ("GIF", "PNG", "WebP"):
        many = victim.running.run({"image": base64_of(hostile.frames(kind, 1000))})
        one = victim.running.run({"image": base64_of(encoded(plain("red", (8, 8)), kind))})
        assert many["results"][0] == one["results"][0], kind


def test_a_first_frame_that_is_smaller_than_the_picture(victim: Victim) -> None:
    """The rest of an opaque WebP is black."""
    for kind, sides in (("WebP", (24, 27)), ("GIF", (6, 8))):
        content = bytearray(hostile.frames(kind, 4))
        for side in sides:
            content[side] += 8
        larger = Image.new("RGB", (16, 16))
        larger.paste("red", (0, 0, 8, 8))
        answer = victim.survives({"image": base64_of(bytes(content)), "details": True})
        assert (answer["details"]["image"]["width"], answer["details"]["image"]["height"]) == (
            16,
            16,
        )
        if kind == "WebP":
            expected = victim.running.run({"image": base64_of(encoded(larger))})["results"][0]
            assert answer["results"][0]["className"] == expected["className"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP"])
def test_truncated(victim: Victim, kind: str) -> None:
    whole = encoded(Image.open(SAMPLE).resize((60, 40)), kind)
    pictures = [base64_of(whole[:at]) for at in range(1, len(whole), max(1, len(whole) // 80))]
    answer = victim.survives({"images": pictures})
    assert len(answer["predictions"]) == len(pictures)
    assert sum("error" in each for each in answer["predictions"]) > len(pictures) // 2


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["JPEG", "progressive", "PNG", "P", "WebP", "lossless", "GIF", "BMP"]),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=8),
    st.tuples(st.integers(0, 2**16), st.integers(0, 40), st.binary(max_size=40)),
)
def test_mutated(
    victim: Victim, kind: str, changes: list[tuple[int, int]], cut: tuple[int, int, bytes]
) -> None:
    content = bytearray(hostile.small(kind))
    for position, value in changes:
        content[position % len(content)] = value
    at = cut[0] % len(content)
    content[at : at + cut[1]] = cut[2]
    answer = victim.survives({"image": base64_of(bytes(content))})
    assert list(answer) in (["results"], ["error"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"value": {"image": ' + b"[" * 900 + b"]" * 900 + b"}}", "found a list"),
        (b'{"value": {"image": "a", "image": "%s"}}' % ESPRESSO.encode(), ""),
        (b'{"value": {"topK": "five", "topK": 5, "image": "%s"}}' % ESPRESSO.encode(), ""),
        (b'{"value": {"image": "a", "threshold": NaN}}', "threshold: expected a number"),
        (b'{"value": {"image": "a", "threshold": -Infinity}}', "threshold: expected a number"),
        (b'{"value": {"image": "a", "threshold": -1e-300}}', "threshold: expected a number"),
        (b'{"value": {"image": "a", "threshold": 1e999}}', "threshold: expected a number"),
        (b'{"value": {"image": "a", "topK": -1}}', "topK: expected a whole number"),
        (b'{"value": {"image": "a", "topK": NaN}}', "topK: expected a whole number"),
        (b'{"value": {"image": "a", "topK": 1e9}}', "topK: expected a whole number"),
        (b'{"value": {"image": "a", "topK": %s}}' % (b"9" * 4000), "topK: expected a whole"),
        (b'{"value": {"unknown": {"a": [1]}, "image": "%s"}}' % ESPRESSO.encode(), ""),
        (b'{"value": {"IMAGE": "a"}}', "did you mean 'image'"),
        (b'{"value": {"topK": 3}}', "found neither"),
        (b'{"value": {"image": "\\ud800"}}', "not base64"),
        (b'{"value": {"image": "%s"}}' % (b"A" * 1_000_000), "not a picture"),
        (b'{"value": {"image": "%s"}}' % (b" " * 1_000_000), "found none"),
        (b'{"value": {"image": "%s"}}' % (b"%41" * 300_000), "not base64"),
        (b'{"value": {"image": "data:image/jpeg;base64,%s"}}' % (b"%41" * 300_000), "not a pict"),
    ],
)
def test_hostile_parameters(victim: Victim, line: bytes, said: str) -> None:
    answer = victim.survives(line)
    if said:
        assert said in answer["error"]
    else:
        assert "results" in answer


def test_good_and_bad_together(victim: Victim) -> None:
    bad: list[Any] = ["", "*", None, 7, {}, [], "AAAA", base64_of(hostile.png((9900, 10000))), True]
    mixed = [picture for each in bad for picture in (ESPRESSO, each)]
    answer = victim.survives({"images": mixed})
    for good, failed in zip(answer["predictions"][::2], answer["predictions"][1::2], strict=True):
        assert good == victim.expected
        assert list(failed) == ["error"]


def test_many_small_pictures(victim: Victim) -> None:
    """As many as are taken, each with an error; as many as a payload takes."""
    answer = victim.survives({"images": ["AAAA"] * 100})
    assert len(answer["predictions"]) == 100
    answer = victim.survives({"images": ["AAAA"] * 100_000})
    assert "at most 100 pictures, found 100000" in answer["error"]


def small_pictures() -> list[str]:
    """Varied in format, mode and size; all good."""
    found = []
    for number in range(40):
        size = (20 + 37 * number % 400, 300 - 31 * number % 280)
        picture = Image.open(SAMPLE).resize(size)
        kind = ("JPEG", "PNG", "WebP", "GIF", "BMP")[number % 5]
        mode = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGBA", "P", "1", "LA")}.get(kind, ("RGB",))
        found.append(base64_of(encoded(picture.convert(mode[number // 5 % len(mode)]), kind)))
    return found


@pytest.mark.parametrize(("network", "activations"), [("imagenet", 1500), ("colours", 5000)])
def test_memory_stays(
    make_zip: Callable[..., Path],
    colour_labels: Path,
    imagenet_model: str,
    tmp_path: Path,
    network: str,
    activations: int,
    thorough: bool,
) -> None:
    """After the first fifth no more than 1 MB comes on top, by the median of samples."""
    model, labels = imagenet_model, ""
    if network == "colours":  # takes no time: what comes before and after it is tried more often
        model = str(ColourModel("uint8").write(tmp_path / "colours.tflite"))
        labels = str(colour_labels)
    python, provider = (PYTHON, "local") if PYTHON else (HERE, "wheels")
    broken = [base64_of(SAMPLE.read_bytes()[:9000]), base64_of(b"no picture")]
    pictures = small_pictures() + broken
    activations = activations if thorough else activations // 4
    block = activations // 10
    samples: dict[int, list[float]] = {}
    archive = make_zip(python, model, labels, provider)
    with actionloop.start_action(archive, interpreter(python)) as running:
        statm = Path(f"/proc/{running.pid}/statm")
        for number in range(activations):
            picture = pictures[number % len(pictures)]
            answer = running.run({"image": picture, "details": number % 3 == 0})
            assert ("error" in answer) == (picture in broken)
            if number % 5 == 0:
                rss = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
                samples.setdefault(number // block, []).append(rss / 1e6)
    medians = [statistics.median(each) for each in samples.values()]
    print(f"MB per {block} activations: " + " ".join(f"{median:.2f}" for median in medians))
    assert medians[-1] <= medians[2] + 1


# Memory limit of 128 MB.


@contextmanager
def memory_limit(limit: int) -> Iterator[Path]:
    """A control group with this limit in bytes; skips where there can be none."""
    root = Path("/sys/fs/cgroup")
    second = (root / "cgroup.controllers").exists()
    group = (root if second else root / "memory") / f"classify-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control groups for memory here: {error.strerror}")
    try:
        try:
            name = "memory.max" if second else "memory.limit_in_bytes"
            (group / name).write_text(str(limit))
            with suppress(OSError):  # not everywhere there: no swap, as on the platform
                swap = "memory.swap.max" if second else "memory.memsw.limit_in_bytes"
                (group / swap).write_text("0" if second else str(limit))
        except OSError as error:
            pytest.skip(f"no memory limit can be set here: {error.strerror}")
        yield group
    finally:
        for _ in range(50):  # it is busy until its last process is gone
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


@cache
def large_pictures() -> list[tuple[str, bytes]]:
    """The largest that a payload of 1 MiB takes, about 780 KB each."""
    sample = Image.open(SAMPLE)
    photo = sample.resize((4000, 3000))
    grain = Image.effect_noise((1000, 750), 30).convert("RGB").resize((4000, 3000))
    noisy = Image.blend(photo, grain, 0.15)
    fitting: list[tuple[str, bytes]] = []
    for name, picture, kind, options in (
        ("12 MP JPEG", noisy, "JPEG", {}),
        ("12 MP progressive JPEG", noisy, "JPEG", {"progressive": True}),
        ("12 MP WebP", noisy, "WebP", {"method": 0}),
    ):
        for quality in (92, 85, 75, 60, 45, 30, 15):
            content = encoded(picture, kind, quality=quality, **options)
            if len(content) <= 780_000:
                break
        fitting.append((name, content))
    drawing = sample.resize((500, 375)).quantize(8).resize((4000, 3000))
    fitting.append(("12 MP PNG", encoded(drawing.convert("RGB"), "PNG")))
    fitting.append(("12 MP PNG, transparent", encoded(drawing.convert("RGBA"), "PNG")))
    fitting.append(("12 MP GIF", encoded(drawing, "GIF")))
    fitting.append(("12 MP lossless WebP", encoded(
        drawing.convert("RGB"), "WebP", lossless=True, method=0)))  # fmt: skip
    fitting.append(("BMP", encoded(sample.resize((580, 440)), "BMP")))
    fitting.append(("noise in a PNG", encoded(grain.resize((590, 440)), "PNG")))
    return [(name, content) for name, content in fitting if len(content) <= 780_000]


@pytest.mark.limits
@pytest.mark.parametrize(("kind", "count"), [("portable", 600), ("precompiled", 400)])
def test_1000_pictures_in_128_mb(
    make_zip: Callable[..., Path],
    imagenet_model: str,
    tmp_path: Path,
    kind: str,
    count: int,
    thorough: bool,
) -> None:
    """Every picture is answered, and the kernel ends nothing, with the platform's proxy beside."""
    if not PYTHON:
        pytest.skip("nothing compiled: run  python build_zip.py --runtime local  first")
    env = IMAGE if kind == "precompiled" else ""
    archive = make_zip(PYTHON, imagenet_model, provider="local", execution_env=env)
    large = large_pictures()
    assert len(large) >= 8, [name for name, _ in large]
    assert max(len(content) for _, content in large) > 500_000
    some = [base64_of(content) for _, content in large]
    some += [base64_of(content) for _, content in hostile.bombs()[:8]]
    all_small = small_pictures()
    chooser = random.Random(128)
    count = count if thorough else count // 4
    with memory_limit(128 * 2**20 - PROXY) as group:
        start = tmp_path / "python"  # joins the group before it takes any memory
        start.write_text(
            f'#!/bin/sh\necho $$ > {group}/cgroup.procs\nexec {interpreter(PYTHON)} "$@"\n'
        )
        start.chmod(0o755)
        with actionloop.start_action(archive, str(start)) as running:
            for name, content in large:
                answer = running.run({"image": base64_of(content)})
                assert "results" in answer, (name, answer)
            failed = 0
            for number in range(count):
                picture = chooser.choice(some if number % 10 == 0 else all_small)
                answer = running.run({"image": picture})
                assert list(answer) in (["results"], ["error"])
                failed += "error" in answer
            assert running.run({"image": ESPRESSO})["results"][0]["className"] == "espresso"
            assert failed < count * 0.06
            peak = Path(f"/proc/{running.pid}/status").read_text().partition("VmHWM:")[2]
            print(f"{kind}: at most {int(peak.split()[0]) / 1000:.0f} MB")


def test_the_messages_are_json(victim: Victim) -> None:
    """What is sent here has no place in an answer but as text."""
    answer = victim.survives({"image": '</script>\x00"\n\u2028'})
    assert json.loads(json.dumps(answer)) == answer
