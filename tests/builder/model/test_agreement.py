"""An int8 conversion has to answer as the original does, or it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.artifact.smoke import SAMPLE
from builder.base.errors import ModelError
from builder.model.agreement import check_agreement
from builder.model.int8 import HINT, convert_to_int8
from builder.model.settings import ModelSettings
from builder.model.tflite import parse_model
from tests.support.models import QuantizedNetwork

SETTINGS = ModelSettings(
    name="m",
    file="",
    crop=0.875,
    size=(16, 16, 3),
    layout="nhwc",
    mean=(128.0,),
    std=(128.0,),
    activation="",
    labels=tuple(f"class {number}" for number in range(10)),
)


def classifier(seed: int) -> bytes:
    network = QuantizedNetwork(seed, (1, 16, 16, 3))
    network.convolution(8)
    return network.classifier().content()


def converted(content: bytes) -> bytes:
    int8 = convert_to_int8(parse_model(content, "m.tflite"))
    assert int8 is not None
    return int8.content


def test_conversion_agrees_with_the_original(tmp_path: Path) -> None:
    original, int8 = tmp_path / "original.tflite", tmp_path / "int8.tflite"
    original.write_bytes(classifier(9))
    int8.write_bytes(converted(classifier(9)))
    agreement = check_agreement(original, int8, SETTINGS, 1 / 256, SAMPLE)
    assert agreement.pictures == 9
    assert agreement == check_agreement(original, int8, SETTINGS, 1 / 256, SAMPLE)


def test_wrong_conversion_is_refused(tmp_path: Path) -> None:
    original, int8 = tmp_path / "original.tflite", tmp_path / "int8.tflite"
    original.write_bytes(classifier(9))
    wrong = converted(classifier(10))
    for content, text in (
        (wrong, r"disagrees on the picture .*expected class \d"),
        (wrong[: len(wrong) // 2], "the int8 model does not run"),
    ):
        int8.write_bytes(content)
        with pytest.raises(ModelError, match=text) as caught:
            check_agreement(original, int8, SETTINGS, 1 / 256, SAMPLE)
        assert caught.value.hint == HINT
