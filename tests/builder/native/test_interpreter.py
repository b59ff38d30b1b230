"""The compiled interpreter answers as the wheels' does, and runs on XNNPACK."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.paths import ROOT
from tests.conftest import MOBILENET, PLUS_MINUS_ONE, base64_of, encoded, interpreter
from tests.support.compiled import PYTHON, needs_compiled, run_with_zip
from tests.support.models import write_float_network

Make = Callable[..., Path]
pytestmark = needs_compiled


def find_model(name: str) -> str:
    """Return a model's --model option; skip if MobileNet is not beside the checkout."""
    if name == "mobilenet" and not MOBILENET.exists():
        pytest.skip("no MobileNet beside the checkout")
    return str(MOBILENET) if name == "mobilenet" else name


@pytest.fixture(scope="module")
def pictures(thorough: bool) -> list[str]:
    """Return labelled pictures; they need no resizing, where versions of Pillow may differ."""
    files = sorted((ROOT.parent / "shared" / "images").glob("*.JPEG"))
    if not files:
        pytest.skip("no labelled pictures beside the checkout")
    some = files if thorough else files[::4]
    shown = (ImageOps.fit(Image.open(file).convert("RGB"), (256, 256)) for file in some)
    return [base64_of(encoded(picture)) for picture in shown]


@pytest.mark.parametrize("model", ["mobilenet", "efficientnet_lite0"])
def test_same_top_5_as_the_wheels(
    make_zip: Make, make_compiled: Make, pictures: list[str], model: str
) -> None:
    model = find_model(model)
    answers = []
    for archive in (make_zip(PYTHON, model, provider="wheels"), make_compiled(PYTHON, model)):
        with actionloop.start_action(archive, interpreter(PYTHON)) as running:
            answers.append([running.run({"image": image, "topK": 5}) for image in pictures])
    same = sum(top_5(a) == top_5(b) for a, b in zip(*answers, strict=True))
    assert same >= 0.99 * len(pictures), f"{same} of {len(pictures)}"


def top_5(answer: dict[str, Any]) -> set[str]:
    """Return the five best classes, without those that share the fifth place."""
    scores = sorted(answer["results"], key=lambda result: -result["probability"])
    last = scores[-1]["probability"]
    return {result["className"] for result in scores if result["probability"] > last}


def test_a_float_network_agrees_with_the_wheels(make_compiled: Make, tmp_path: Path) -> None:
    """The build compares its answers with those of the trial, which the wheels' gave."""
    model, labels = write_float_network(tmp_path / "network.tflite"), tmp_path / "labels.txt"
    labels.write_text("\n".join(f"class {letter}" for letter in "abcdefghij"))
    make_compiled(PYTHON, str(model), str(labels), normalization=PLUS_MINUS_ONE)


@pytest.mark.parametrize(
    ("model", "requantize"),
    [("mobilenet", True), ("mobilenet", False), ("efficientnet_lite0", True)],
)
def test_xnnpack_runs_all_but_softmax_and_quantize(
    make_compiled: Make, model: str, requantize: bool
) -> None:
    model = find_model(model)
    archive = make_compiled(PYTHON, model, requantize=requantize)
    with actionloop.start_action(archive, interpreter(PYTHON)) as running:
        answer = running.run({"image": base64_of(SAMPLE), "details": True})
    nodes = answer["details"]["model"]["nodes"]
    assert nodes["total"] == nodes["delegated"] + len(nodes["others"])
    assert nodes["delegated"] >= 30
    assert sorted(set(nodes["others"]) - {"SOFTMAX", "QUANTIZE"}) == []
    assert nodes["others"].count("SOFTMAX") <= 1


COMPARE_THREADS = """
import json, os
import numpy as np
from action.bootstrap import PackedZip
from action.classifier import Classifier
files = PackedZip(sys.argv[1])
settings = json.loads(files.read("model/model.json"))
path = files.extract("model/" + settings["file"])
one, two = (Classifier({**settings, "threads": n}, path) for n in (1, 2))
for number in range(20):
    size = settings["size"]
    pixels = np.frombuffer(os.urandom(int(np.prod(size))), np.uint8).reshape(size)
    assert (one.run(pixels) == two.run(pixels)).all()
if not os.fork():  # no worker lives here
    assert (one.run(pixels) == two.run(pixels)).all()
    del one, two
    os._exit(0)
assert os.wait()[1] == 0
print(one.describe()["threads"], two.describe()["threads"])
"""


def test_two_threads_give_the_same_bits(
    make_compiled: Make, imagenet_model: str, tmp_path: Path
) -> None:
    archive = make_compiled(PYTHON, imagenet_model)
    assert run_with_zip(archive, PYTHON, COMPARE_THREADS, tmp_path) == "1 2\n"


def test_the_model_file_leaves_memory(make_compiled: Make, imagenet_model: str) -> None:
    """XNNPACK has copies of the weights; without this the whole file would stay."""
    with actionloop.start_action(
        make_compiled(model=imagenet_model), interpreter(PYTHON)
    ) as action:
        action.run({"image": base64_of(SAMPLE.read_bytes())})
        mapped = Path(f"/proc/{action.pid}/smaps").read_text()
    sizes = re.findall(r"\.tflite\nSize: +(\d+) kB\n(?:.*\n){1,4}?Rss: +(\d+) kB", mapped)
    assert sizes, "the file is mapped, not read"
    size, resident = (sum(map(int, column)) for column in zip(*sizes, strict=True))
    assert resident < size / 5  # a page that is read brings its neighbours
