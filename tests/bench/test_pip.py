"""The peers that are plain pip zips: they run, answer rightly, and hold what was pinned.

What is made for it takes long: it is for --thorough.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.peers import peer as peers
from bench.peers import pip
from bench.peers.peer import Peer
from builder.artifact import actionloop, platform
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model import resolve
from builder.model.preprocessing import Normalization
from builder.model.resolve import ModelOptions
from builder.packages.wheels import pinned
from tests.conftest import PLUS_MINUS_ONE, base64_of, encoded, interpreter
from tests.support.models import ColourModel

NAMES = ("tflite-runtime", "ai-edge-litert", "onnxruntime")
REQUIREMENTS = sorted(pip.HERE.glob("*.txt"))

Make = Callable[[resolve.Model, Console], Peer]


@pytest.fixture(scope="module")
def made(imagenet_model: str, console: Console) -> dict[str, Peer]:
    interpreter(peers.PYTHON)
    chosen = resolve.resolve_model(imagenet_model, ModelOptions(), console)
    makers: tuple[Make, ...] = (pip.tflite_runtime, pip.ai_edge_litert, pip.onnxruntime)
    return dict(zip(NAMES, (make(chosen, console) for make in makers), strict=True))


@pytest.fixture(scope="module")
def answers(made: dict[str, Peer]) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name, peer in made.items():
        with peer.launched() as action:
            found[name] = action.run({"image": base64_of(SAMPLE)})["results"]
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_sample(name: str, answers: dict[str, list[dict[str, Any]]]) -> None:
    results = answers[name]
    assert results[0]["className"] == "espresso"
    probabilities = [each["probability"] for each in results]
    assert 1 >= probabilities[0] > 0.85
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(results) == 3


@pytest.mark.thorough
def test_they_agree(answers: dict[str, list[dict[str, Any]]]) -> None:
    """The same network on the same pixels: what differs is how kernels round, layer by layer.

    On this picture that is up to 3 of the output's steps of 1/256; twice as much is let pass.
    """
    best = [results[0] for results in answers.values()]
    assert len({each["classIndex"] for each in best}) == 1
    probabilities = [each["probability"] for each in best]
    assert max(probabilities) - min(probabilities) <= 6 / 256


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", ["tflite-runtime", "onnxruntime"])
def test_pixels_are_scaled(
    name: str,
    dtype: str,
    made: dict[str, Peer],
    tmp_path: Path,
    colour_labels: Path,
    console: Console,
) -> None:
    network = ColourModel(dtype=dtype).write(tmp_path / "colours.tflite")
    scaled = Normalization((0.0, 10.0, 20.0), (127.5, 127.5, 127.5))
    chosen = resolve.resolve_model(str(network), ModelOptions(colour_labels, scaled), console)
    files = pip.onnx_files(chosen, console) if name == "onnxruntime" else pip.tflite_files(chosen)
    folder = tmp_path / "action"
    actionloop.unpack_zip(made[name].archive, folder)
    for file in files.keys() - {"__main__.py"}:
        (folder / file).write_bytes(files[file])
    action = actionloop.RunningAction(folder, made[name].interpreter, {}, isolated=True)
    try:
        picture = Image.new("RGB", (8, 8), (250, 60, 0))
        answer = action.run({"image": base64_of(encoded(picture))})
    finally:
        action.close()
    found = {each["className"]: each["probability"] for each in answer["results"]}
    expected = {"red": 1.0, "green": (60 - 10) / 127.5, "blue": 0.0}
    assert found == pytest.approx(expected, abs=1 / 255)


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_holds_what_is_pinned(name: str, made: dict[str, Peer]) -> None:
    peer = made[name]
    assert peer.name == f"pip: {name}"
    folders = {path.partition("/")[0] for path in zipfile.ZipFile(peer.archive).namelist()}
    found = {
        folder.removesuffix(".dist-info").rpartition("-")[::2]
        for folder in folders
        if folder.endswith(".dist-info")
    }
    held = {re.sub(r"[._]", "-", package).lower(): version for package, version in found}
    assert held == peer.versions
    assert {name, "numpy", "pillow"} <= held.keys()


@pytest.mark.thorough
def test_sizes(made: dict[str, Peer]) -> None:
    size = {name: peer.archive.stat().st_size for name, peer in made.items()}
    assert size.pop("tflite-runtime") < platform.zip_limit() < min(size.values())


@pytest.mark.thorough
def test_kept_between_runs(made: dict[str, Peer], imagenet_model: str, console: Console) -> None:
    before = made["onnxruntime"].archive.stat()
    again = pip.onnxruntime(resolve.resolve_model(imagenet_model, ModelOptions(), console), console)
    assert again == made["onnxruntime"]
    assert again.archive.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("make", [pip.tflite_runtime, pip.ai_edge_litert, pip.onnxruntime])
def test_float_models_are_refused(
    make: Make, tmp_path: Path, colour_labels: Path, console: Console
) -> None:
    network = ColourModel(dtype="float32").write(tmp_path / "colours.tflite")
    chosen = resolve.resolve_model(
        str(network), ModelOptions(colour_labels, PLUS_MINUS_ONE), console
    )
    with pytest.raises(ModelError, match=r"expected quantized tensors .* found .*float32"):
        make(chosen, console)


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_requirements_are_pinned(path: Path) -> None:
    text = path.read_text()
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    packages = re.split(r"^(?=\S)", "\n".join(lines), flags=re.MULTILINE)[1:]
    assert packages
    for package in packages:
        assert re.match(r"[\w.-]+==[\w.]+ \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n?)+$", package)
    assert "://" not in text
    assert "--index" not in text


def test_ai_edge_litert_is_the_builders() -> None:
    [ours] = [each for each in pinned(peers.PYTHON) if each.name == "ai-edge-litert"]
    text = (pip.HERE / "ai-edge-litert.txt").read_text()
    assert f"\nai-edge-litert=={ours.version} " in text
    assert ours.sha256 in text
