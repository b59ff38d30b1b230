"""Classifiers that others have trained or reported are answered rightly, through the zip.

The trained one reads digits of meters, and comes from a package on the index (Apache-2.0). It is
downloaded when the test runs, by hash; the test is skipped where the index cannot be reached.

The reported ones were answered wrongly. Each is small: the colour of a picture, or the place that
is lit, decides its class.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from builder import build
from builder.base.console import Console
from builder.base.errors import DownloadError, ModelError
from builder.base.package_index import IndexFile, download_from_index
from builder.base.paths import DOWNLOADS
from builder.model.normalization import CAFFE, Normalization
from builder.model.preprocessing import Fit
from builder.model.resolve import ModelOptions
from tests.builder.model.conftest import ZERO_TO_ONE, ask
from tests.conftest import HERE, at_hand, encoded


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

DIGITS = IndexFile(
    "collectmeterdigits",
    "1.0.10",
    "collectmeterdigits-1.0.10-py3-none-any.whl",
    "fc785ffedfaaa05dd9668fe51b556cd79f837fd921c1a7627dc726fce75cd955",
)
TENTHS = [f"{n / 10:.1f}" for n in range(100)]


def write_digits(folder: Path) -> tuple[Path, Path]:
    """Write the model and its labels: ten times the digit; skip if it cannot be downloaded."""
    try:
        [wheel] = download_from_index([DIGITS], DOWNLOADS, Console(quiet=True), "3.11", ["any"])
    except DownloadError as error:
        pytest.skip(f"{DIGITS.name} cannot be downloaded: {error}")
    model, labels = folder / "m.tflite", folder / "labels.txt"
    with zipfile.ZipFile(wheel) as archive:
        model.write_bytes(archive.read("collectmeterdigits/models/dig-class100-0160_s2_q.tflite"))
    labels.write_text("\n".join(TENTHS))
    return model, labels


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
    archive, _ = build_zip(tmp_path, *write_digits(tmp_path))
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
