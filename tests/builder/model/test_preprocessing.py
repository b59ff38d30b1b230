"""How a picture enters: range and layout follow the option, then the file, or are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.normalization import Normalization
from tests.builder.model.conftest import (
    PICTURE,
    ZERO_TO_ONE,
    Head,
    Resolver,
    answers,
    apply,
    dense,
    expected,
    softmax,
)
from tests.conftest import PLUS_MINUS_ONE
from tests.support.models import SIDE, ColourModel, Graph, Value

HINT = "--mean 127.5 --std 127.5"
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def quantize_first(scale: float, zero_point: int) -> Head:
    """A float input that is quantized and dequantized at once."""

    def head(graph: Graph) -> tuple[Value, Value]:
        source = graph.tensor(PICTURE)
        stored = graph.tensor(PICTURE, "int8", scale, zero_point)
        stored = graph.operator("QUANTIZE", [source], stored, schema.QuantizeOptionsT())
        return source, apply(graph, "DEQUANTIZE", [stored], PICTURE)

    return head


def arithmetic(*steps: tuple[str, Any]) -> Head:
    """An input that goes through operators with constants."""

    def head(graph: Graph) -> tuple[Value, Value]:
        source = x = graph.tensor(PICTURE)
        for kind, value in steps:
            constant = graph.constant(np.array(value, np.float32))
            options = getattr(schema, f"{kind.capitalize()}OptionsT")()
            x = apply(graph, kind, [x, constant], PICTURE, options)
        return source, x

    return head


def cast(dtype: str) -> Head:
    """Integers that are cast and scaled."""

    def head(graph: Graph) -> tuple[Value, Value]:
        source = graph.tensor(PICTURE, dtype)
        x = apply(graph, "CAST", [source], PICTURE, schema.CastOptionsT())
        scale = graph.constant(np.array(1 / 255, np.float32))
        return source, apply(graph, "MUL", [x, scale], PICTURE, schema.MulOptionsT())

    return head


def moved(kind: str) -> Head:
    """A picture that is moved, and scaled with a float16 constant, as converters write it."""

    def head(graph: Graph) -> tuple[Value, Value]:
        source = graph.tensor(PICTURE[1:] if kind == "RESHAPE" else (1, 3, SIDE, SIDE))
        to = graph.integers(*(PICTURE if kind == "RESHAPE" else (0, 2, 3, 1)))
        x = apply(graph, kind, [source, to], PICTURE)
        half = graph.constant(np.array(1 / 255, np.float16))
        factor = graph.operator("DEQUANTIZE", [half], graph.tensor(()), None, 3)
        return source, apply(graph, "MUL", [x, factor], PICTURE, schema.MulOptionsT())

    return head


def int16(scale: float) -> Head:
    def head(graph: Graph) -> tuple[Value, Value]:
        source = graph.tensor(PICTURE, "int16", scale)
        return source, apply(graph, "DEQUANTIZE", [source], PICTURE)

    return head


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_scale_of_a_quantized_input_tells_the_range(dtype: str, resolved: Resolver) -> None:
    model = ColourModel(dtype, softmax=True)
    settings = resolved(model).settings
    assert settings.mean == (0.0,)
    assert settings.std == pytest.approx((255.0,))
    assert "its scale and zero point hold 0..1" in settings.card["input"]
    assert resolved(model, Normalization((1.0,), (2.0,))).settings.mean == (1.0,)


@pytest.mark.parametrize(
    ("head", "mean", "std"),
    [
        (quantize_first(1.0, -128), (0.0,), (1.0,)),
        (quantize_first(1 / 255, -128), (0.0,), (255.0,)),
        (quantize_first(1 / 127.5, -1), (127.5,), (127.5,)),
        # as the converter's pictures had it, not quite -1..1
        (quantize_first(0.00775, 0), (127.5,), (127.5,)),
        (quantize_first(0.0186584, -14), *IMAGENET),
        (arithmetic(("MUL", 1 / 127.5), ("SUB", 1.0)), (0.0,), (1.0,)),
        (arithmetic(("MUL", 1 / 255)), (0.0,), (1.0,)),
        (arithmetic(("DIV", 255.0)), (0.0,), (1.0,)),
        (arithmetic(("SUB", 127.5), ("DIV", 127.5)), (0.0,), (1.0,)),
        (arithmetic(("MUL", 2.0), ("ADD", -1.0)), (0.0,), (255.0,)),
        (
            arithmetic(("SUB", [0.485, 0.456, 0.406]), ("DIV", [0.229, 0.224, 0.225])),
            (0.0,),
            (255.0,),
        ),
        (cast("uint8"), (0.0,), (1.0,)),
        (cast("int32"), (0.0,), (1.0,)),
        (moved("RESHAPE"), (0.0,), (1.0,)),
        (moved("TRANSPOSE"), (0.0,), (1.0,)),
        (int16(255 / 32767), (0.0,), (1.0,)),
    ],
)
def test_first_operators_tell_the_range(
    head: Head, mean: tuple[float, ...], std: tuple[float, ...], resolved: Resolver
) -> None:
    settings = resolved(dense(head, softmax)).settings
    assert settings.mean == pytest.approx(mean)
    assert settings.std == pytest.approx(std)


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (None, "m.tflite does not say how its input .* is scaled"),
        (quantize_first(0.05, 3), "QUANTIZE, holds -6.55..6.2"),
        (arithmetic(("MUL", 7.0)), "found its first operators, MUL "),
        (arithmetic(("SUB", [103.9, 116.8, 123.7])), "found its first operators, SUB "),
        # the zero point of int16 is always 0: up to 1 may be 0..1 or -1..1
        (int16(1 / 32767), "scale and zero point hold -1..1"),
    ],
)
def test_unclear_range_is_asked_for(head: Head | None, text: str, resolved: Resolver) -> None:
    model = dense(head, softmax)
    with pytest.raises(ModelError, match=text) as caught:
        resolved(model)
    assert HINT in caught.value.hint and "--mean A,B,C" in caught.value.hint
    assert resolved(model, ZERO_TO_ONE).settings.std == (255.0,)


def test_pixels_enter_as_the_range_says(resolved: Resolver) -> None:
    red = answers(resolved(dense(cast("uint8"), softmax)))["red"]
    assert red == pytest.approx(expected("softmax", [2, -2, -2]), abs=1e-4)
    red = answers(resolved(dense(int16(1 / 32767), softmax), ZERO_TO_ONE))["red"]
    assert red == pytest.approx(expected("softmax", [2, -2, -2]), abs=1e-3)
    means = Normalization((0.0, 255.0, 0.0), (255.0, 255.0, 255.0))
    white = answers(resolved(dense(tail=softmax), means))["white"]
    assert white == pytest.approx(expected("softmax", [2, -2, 2]), abs=1e-4)


def test_mean_has_one_number_or_one_per_channel(resolved: Resolver) -> None:
    with pytest.raises(ModelError, match="--mean: expected one number or 3"):
        resolved(dense(tail=softmax), Normalization((1.0, 2.0), (1.0,)))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (
            dense(arithmetic(("MUL", 1 / 255)), softmax),
            "its first operators, MUL 0.003922, as for pixels of 0..255",
        ),
        (
            dense(quantize_first(1.0, -128), softmax),
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
    assert f"--mean and --std, though {text}" in card
    assert text in " ".join(capsys.readouterr().err.split())


def reshaped(*shape: int) -> Head:
    """An input of any shape, which is reshaped to a picture."""

    def head(graph: Graph) -> tuple[Value, Value]:
        source = graph.tensor(shape)
        options = schema.ReshapeOptionsT(newShape=np.array(PICTURE, np.int32))
        return source, apply(graph, "RESHAPE", [source, graph.integers(*PICTURE)], PICTURE, options)

    return head


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
    settings = resolved(dense(reshaped(*shape), softmax), ZERO_TO_ONE).settings
    assert (settings.size, settings.layout) == (size, layout)


def test_unclear_layout_is_asked_for(resolved: Resolver) -> None:
    model = dense(reshaped(1, 1, 64, 3), softmax)
    with pytest.raises(ModelError, match="may be read as height, width, channels or") as caught:
        resolved(model, ZERO_TO_ONE)
    assert "--layout nhwc" in caught.value.hint
    assert resolved(model, ZERO_TO_ONE, layout="nhwc").settings.size == (1, 64, 3)
    assert resolved(model, ZERO_TO_ONE, layout="nchw").settings.size == (64, 3, 1)
    with pytest.raises(ModelError, match="--layout nchw: expected 3 or 1 channels, found"):
        resolved(dense(tail=softmax), ZERO_TO_ONE, layout="nchw")


def test_channels_follow_the_option(resolved: Resolver) -> None:
    """Red is blue for a model that was trained on BGR."""
    model = dense(tail=softmax)
    for channels, scores in (("rgb", [2.0, -2, -2]), ("bgr", [-2.0, -2, 2])):
        found = resolved(model, ZERO_TO_ONE, channels=channels)
        assert channels.upper() in found.settings.card["input"]
        assert answers(found)["red"] == pytest.approx(expected("softmax", scores), abs=1e-4)
    with pytest.raises(ModelError, match="--channels bgr: expected a model of colours"):
        resolved(dense(reshaped(12, 16), softmax), ZERO_TO_ONE, channels="bgr")


def test_means_of_caffe_without_bgr_are_warned_about(
    resolved: Resolver, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved.console = Console()
    caffe = Normalization((103.939, 116.779, 123.68), (1.0,))
    resolved(dense(tail=softmax), caffe, channels="bgr")
    assert "warning" not in capsys.readouterr().err
    resolved(dense(tail=softmax), caffe)
    assert "(--channels bgr)" in capsys.readouterr().err
