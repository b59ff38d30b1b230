"""How a picture enters: option, catalogue and file decide range, layout and fit, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from builder import options as command_line
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.labels import IMAGENET
from builder.model.normalization import Normalization
from builder.model.preprocessing import Fit, decide_fit
from tests.builder.model.conftest import (
    PICTURE,
    ZERO_TO_ONE,
    Resolver,
    Step,
    answers,
    dense,
    entering,
    expected,
    quantize,
    reshape,
    softmax,
    unary,
    with_constant,
)
from tests.conftest import PLUS_MINUS_ONE
from tests.support.models import COLOURS, SIDE, ColourModel, Graph, Value

HINT = "--mean 127.5 --std 127.5"
IMAGENETS_RANGE = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
OF_GREEN = Normalization((0.0, 255.0, 0.0), (255.0, 255.0, 255.0))
BYTES, SHARES = ((0.0,), (1.0,)), ((0.0,), (255.0,))


def entered_by(*steps: Step, **tensor: Any) -> bytes:
    """Return a model whose input goes through some steps, and whose output through a softmax."""
    return dense(entering(*steps, **tensor), softmax)


def quantize_first(scale: float, zero_point: int) -> bytes:
    """A float input that is quantized and dequantized at once."""
    return entered_by(quantize(scale, zero_point), unary("DEQUANTIZE"))


def arithmetic(*steps: tuple[str, Any]) -> bytes:
    """An input that goes through operators with constants."""
    return entered_by(*(with_constant(*step) for step in steps))


def cast(dtype: str) -> bytes:
    """Integers that are cast and scaled."""
    return entered_by(unary("CAST"), with_constant("MUL", 1 / 255), dtype=dtype)


def int16(scale: float) -> bytes:
    return entered_by(unary("DEQUANTIZE"), dtype="int16", scale=scale)


def scale_by_half(graph: Graph, x: Value) -> Value:
    """Scale with a float16 constant, as converters write it."""
    half = graph.constant(np.array(1 / 255, np.float16))
    factor = graph.operator("DEQUANTIZE", [half], (), version=3)
    return graph.operator("MUL", [x, factor], x.shape)


def transpose(graph: Graph, x: Value) -> Value:
    return graph.operator("TRANSPOSE", [x, graph.integers(0, 2, 3, 1)], PICTURE)


@pytest.mark.parametrize(
    ("model", "range_"),
    [
        (ColourModel("uint8", softmax=True), SHARES),
        (ColourModel("int8", softmax=True), SHARES),
        (quantize_first(1.0, -128), BYTES),
        (quantize_first(1 / 255, -128), SHARES),
        (quantize_first(1 / 127.5, -1), ((127.5,), (127.5,))),
        # as the converter's pictures had it, not quite -1..1
        (quantize_first(0.00775, 0), ((127.5,), (127.5,))),
        (quantize_first(0.0186584, -14), IMAGENETS_RANGE),
        (arithmetic(("MUL", 1 / 127.5), ("SUB", 1.0)), BYTES),
        (arithmetic(("MUL", 1 / 255)), BYTES),
        (arithmetic(("DIV", 255.0)), BYTES),
        (arithmetic(("SUB", 127.5), ("DIV", 127.5)), BYTES),
        (arithmetic(("MUL", 2.0), ("ADD", -1.0)), SHARES),
        (arithmetic(("SUB", [0.485, 0.456, 0.406]), ("DIV", [0.229, 0.224, 0.225])), SHARES),
        (cast("uint8"), BYTES),
        (cast("int32"), BYTES),
        (entered_by(reshape(*PICTURE), scale_by_half, shape=PICTURE[1:]), BYTES),
        (entered_by(transpose, scale_by_half, shape=(1, 3, SIDE, SIDE)), BYTES),
    ],
)
def test_quantization_or_first_operators_tell_the_range(
    model: Any, range_: tuple[Any, Any], resolved: Resolver
) -> None:
    settings = resolved(model).settings
    assert settings.mean == pytest.approx(range_[0])
    assert settings.std == pytest.approx(range_[1])


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (entered_by(), "m.tflite does not say how its input .* is scaled"),
        (quantize_first(0.05, 3), "QUANTIZE, holds -6.55..6.2"),
        (arithmetic(("MUL", 7.0)), "found its first operators, MUL "),
        (arithmetic(("SUB", [103.9, 116.8, 123.7])), "found its first operators, SUB "),
        # the zero point of int16 is always 0: up to 1 may be 0..1 or -1..1
        (int16(1 / 32767), "scale and zero point hold -1..1"),
    ],
)
def test_unclear_range_is_asked_for(model: bytes, text: str, resolved: Resolver) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        resolved(model)
    assert HINT in caught.value.hint and "--mean A,B,C" in caught.value.hint
    assert resolved(model, ZERO_TO_ONE).settings.std == (255.0,)


@pytest.mark.parametrize(
    ("shape", "options", "text"),
    [
        (PICTURE, {"normalization": Normalization((1.0, 2.0), (1.0,))}, "--mean: .* number or 3"),
        ((12, 16), {"channels": "bgr"}, "--channels bgr: expected a model of colours"),
        ((1, 1, 64, 3), {}, "may be read as height, width, channels or"),
    ],
)
def test_option_that_does_not_fit_the_input_is_refused(
    shape: tuple[int, ...], options: Any, text: str, resolved: Resolver
) -> None:
    with pytest.raises(ModelError, match=text):
        resolved(
            entered_by(reshape(*PICTURE), shape=shape), **{"normalization": ZERO_TO_ONE, **options}
        )


@pytest.mark.parametrize(
    ("model", "options", "picture", "logits"),
    [
        (cast("uint8"), {"normalization": None}, "red", [2, -2, -2]),
        (int16(1 / 32767), {}, "red", [2, -2, -2]),
        (entered_by(), {"normalization": OF_GREEN}, "white", [2, -2, 2]),
        (entered_by(), {"channels": "rgb"}, "red", [2, -2, -2]),
        (entered_by(), {"channels": "bgr"}, "red", [-2, -2, 2]),
    ],
)
def test_pixels_enter_as_was_decided(
    model: bytes, options: Any, picture: str, logits: list[float], resolved: Resolver
) -> None:
    found = resolved(model, **{"normalization": ZERO_TO_ONE, **options})
    assert options.get("channels", "rgb").upper() in found.settings.card["input"]
    assert answers(found)[picture] == pytest.approx(expected("softmax", logits), abs=1e-3)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (
            arithmetic(("MUL", 1 / 255)),
            "its first operators, MUL 0.003922, as for pixels of 0..255",
        ),
        (
            quantize_first(1.0, -128),
            "its first operator, QUANTIZE, holds 0..255, as for pixels of 0..255",
        ),
        # half of the pixels would be clipped
        (ColourModel("uint8", softmax=True), "its scale and zero point hold 0..1"),
    ],
)
def test_range_that_contradicts_the_file_is_used_with_a_warning(
    model: Any, text: str, resolved: Resolver, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved.console = Console()
    card = resolved(model, PLUS_MINUS_ONE).settings.card["input"]
    assert f"--mean, --std, though {text}" in card
    assert text in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("shape", "size", "layout"),
    [
        ((1, 8, 8, 3), (8, 8, 3), "nhwc"),
        ((8, 8, 3), (8, 8, 3), "nhwc"),
        ((1, 3, 8, 8), (8, 8, 3), "nchw"),
        ((3, 8, 8), (8, 8, 3), "nchw"),
        ((1, 1, 12, 16), (12, 16, 1), "nchw"),
        ((1, 12, 16, 1), (12, 16, 1), "nhwc"),
        ((1, 12, 16), (12, 16, 1), "nhwc"),
        ((12, 16), (12, 16, 1), "nhwc"),
    ],
)
def test_shape_tells_size_and_layout(
    shape: tuple[int, ...], size: tuple[int, ...], layout: str, resolved: Resolver
) -> None:
    settings = resolved(entered_by(reshape(*PICTURE), shape=shape), ZERO_TO_ONE).settings
    assert (settings.size, settings.layout) == (size, layout)


def test_means_of_caffe_without_bgr_are_warned_about(
    resolved: Resolver, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved.console = Console()
    caffe = Normalization((103.939, 116.779, 123.68), (1.0,))
    resolved(entered_by(), caffe, channels="bgr")
    assert "warning" not in capsys.readouterr().err
    resolved(entered_by(), caffe)
    assert "(--channels bgr)" in capsys.readouterr().err


IMAGENETS_NAMES = ("tench, Tinca tinca", *("other",) * (IMAGENET - 1))


@pytest.mark.parametrize(
    ("option", "entry", "names", "fit", "source"),
    [
        (None, {}, COLOURS, Fit("squash"), "default"),
        (None, {}, IMAGENETS_NAMES, Fit("crop", 0.875), "default"),
        (None, {}, ("background", *IMAGENETS_NAMES), Fit("crop", 0.875), "default"),
        (None, {}, ("eagle",) * IMAGENET, Fit("squash"), "default"),
        (None, {"crop": 0.9}, IMAGENETS_NAMES, Fit("crop", 0.9), "catalogue"),
        (Fit("pad"), {"crop": 0.9}, IMAGENETS_NAMES, Fit("pad"), "option"),
    ],
)
def test_fit_follows_option_catalogue_and_classes(
    option: Fit | None, entry: Any, names: tuple[str, ...], fit: Fit, source: str
) -> None:
    found = decide_fit(option, entry, names)
    assert (found.value, found.source) == (fit, source)


@pytest.mark.parametrize(
    ("words", "fit"),
    [
        ("--fit crop", Fit("crop", 0.875)),
        ("--crop 0.5", Fit("crop", 0.5)),
        ("--fit squash", Fit("squash")),
    ],
)
def test_fit_of_the_command_line(words: str, fit: Fit) -> None:
    given = command_line.parse(["inspect", "mobilenet_v1", *words.split()])
    assert command_line.model_options(given).fit == fit
