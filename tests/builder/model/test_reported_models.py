"""Models that people reported to be answered wrongly are answered rightly, through the zip.

Each is small: the colour of a picture, or the place that is lit, decides its class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder import build
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.normalization import Normalization
from builder.model.resolve import ModelOptions
from tests.builder.model.conftest import ZERO_TO_ONE, ask
from tests.conftest import HERE, at_hand

CAFFE = Normalization((103.939, 116.779, 123.68), (1.0,))
COLOURS = {"red.png": "red", "green.png": "green", "blue.png": "blue"}
THIRDS = {f"tall_{place}.png": place for place in ("top", "middle", "bottom")}


def built(cases: Path, folder: Path, model: str, **config: Any) -> tuple[Path, build.BuildResult]:
    """Build a zip of a reported model; return its path, and the build's result."""
    options = {"labels": cases / "turn3" / "labels" / config.pop("labels", "rgb.txt")}
    options |= {"normalization": ZERO_TO_ONE, **config.pop("options", {})}
    output = folder / "a.zip"
    settings = {"provider": at_hand(), "keep": False, **config}
    path = str(cases / "turn3" / "models" / model)
    wanted = build.BuildConfig((HERE,), output, path, ModelOptions(**options), **settings)
    return output, build.build(wanted, Console(quiet=True))


@pytest.mark.parametrize(
    ("model", "labels", "options", "expected"),
    [
        ("thirds_12x4.tflite", "thirds.txt", {}, THIRDS),
        ("thirds_12x4.tflite", "thirds.txt", {"fit": "pad"}, THIRDS),
        ("thirds_12x4.tflite", "thirds.txt", {"fit": "crop"}, THIRDS),
        ("caffe_bgr.tflite", "rgb.txt", {"channels": "bgr", "normalization": CAFFE}, COLOURS),
        ("serving_is_second.tflite", "rgb.txt", {}, COLOURS),
    ],
)
def test_right_class_is_answered(
    model: str,
    labels: str,
    options: dict[str, Any],
    expected: dict[str, str],
    cases: Path,
    tmp_path: Path,
) -> None:
    archive, result = built(cases, tmp_path, model, labels=labels, options=options)
    answers = ask(archive, [cases / "turn3" / name for name in expected], 3)
    for name, scores in zip(expected.values(), answers, strict=True):
        assert max(scores, key=scores.__getitem__) == name, scores
    assert result.smoke[HERE].compared == 8
    assert result.smoke[HERE].difference < 0.01


def test_frame_is_seen_by_default(cases: Path, tmp_path: Path) -> None:
    shares = []
    for fit in ("", "crop"):
        options = {"normalization": CAFFE, "channels": "bgr", "fit": fit}
        archive, _ = built(cases, tmp_path, "caffe_bgr.tflite", options=options)
        [scores] = ask(archive, [cases / "turn3" / "border_red.png"], 3)
        shares.append(scores["red"])
    assert shares[0] > shares[1]


@pytest.mark.parametrize("kind", ["dynamic", "weight_only"])
def test_narrow_weights_take_wheels(
    kind: str, cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A compiled interpreter answered 0.333 for every picture, or did not start."""
    model = f"aeq_{kind}_wi4_afp32.tflite"
    with pytest.raises(ModelError, match="of int4") as caught:
        built(cases, tmp_path, model, provider="local")
    assert "--runtime wheels" in caught.value.hint
    archive, _ = built(cases, tmp_path, model, provider="auto")
    assert "Using ready-made wheels" in capsys.readouterr().err
    answers = ask(archive, [cases / "turn3" / name for name in COLOURS], 3)
    for name, scores in zip(COLOURS.values(), answers, strict=True):
        assert scores[name] > 0.9
