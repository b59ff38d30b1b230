"""What is decided about a model, by whom, and what is refused with the way out."""

from __future__ import annotations

import itertools
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model import resolve, run
from builder.model.metadata import AXIS_LABELS
from builder.model.preprocessing import Normalization
from builder.model.resolve import Model, ModelOptions, resolve_model
from builder.model.tflite import pack_model, parse_model, read_model
from tests.conftest import PLUS_MINUS_ONE
from tests.support.models import COLOURS, SIDE, ColourModel, DenseModel, Graph, Value

MODEL = ColourModel(dtype="uint8")
ZERO_TO_ONE = Normalization((0.0,), (255.0,))
WAY_OUT = "--mean 127.5 --std 127.5"
Tail = Callable[[Graph, Value], Value]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("red\ngreen\nblue\n")
    return path


def dense(
    path: Path,
    head: Callable[[Graph], tuple[Value, Value]] | None = None,
    tail: Tail | None = None,
    outputs: int = 3,
) -> Path:
    """A float32 model: what `head` makes of its input, means, a dense layer (4 x - 2), `tail`."""
    graph = Graph()
    if head is None:
        source = x = graph.tensor((1, SIDE, SIDE, 3), "float32", name="picture")
    else:
        source, x = head(graph)
    means = graph.tensor((1, 3), "float32")
    axes = graph.integers(1, 2)
    x = graph.operator("MEAN", [x, axes], means, schema.ReducerOptionsT(), 2)
    weights = graph.constant((4 * np.eye(3, dtype=np.float32))[:outputs])
    bias = graph.constant(np.full(outputs, -2, np.float32))
    logits = graph.tensor((1, outputs), "float32")
    x = graph.operator(
        "FULLY_CONNECTED", [x, weights, bias], logits, schema.FullyConnectedOptionsT()
    )
    path.write_bytes(graph.file([source], [tail(graph, x) if tail else x]))
    return path


def apply(
    graph: Graph, kind: str, x: list[Value], shape: tuple[int, ...], options: Any = None
) -> Value:
    """An operator with a float32 output."""
    return graph.operator(kind, x, graph.tensor(shape, "float32"), options, 1)


def softmax(graph: Graph, x: Value) -> Value:
    return apply(graph, "SOFTMAX", [x], x.shape, schema.SoftmaxOptionsT(beta=1.0))


def answers(found: Model) -> dict[str, np.ndarray[Any, Any]]:
    """Picture -> scores."""
    outputs = run.run_model(found.path, found.settings)
    return dict(zip(outputs.pictures, outputs.scores, strict=True))


# The input's range


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_the_range_of_quantized_inputs(
    dtype: str, tmp_path: Path, labels: Path, console: Console
) -> None:
    path = ColourModel(dtype=dtype, softmax=True).write(tmp_path / "my model.tflite")
    found = resolve_model(str(path), ModelOptions(labels), console)
    assert found.settings.mean == (0.0,)
    assert found.settings.std == pytest.approx((255.0,))
    assert found.settings.file == "my_model.tflite"
    assert found.settings.activation == ""
    assert "its scale and zero point hold 0..1" in found.settings.card["input"]
    given_ = Normalization((1.0,), (2.0,))
    assert resolve_model(str(path), ModelOptions(labels, given_), console).settings.mean == (1.0,)


def test_a_float_input_that_nothing_says_the_range_of(
    tmp_path: Path, labels: Path, console: Console
) -> None:
    path = str(dense(tmp_path / "m.tflite", tail=softmax))
    with pytest.raises(ModelError, match="m.tflite does not say how its input .* is scaled") as no:
        resolve_model(path, ModelOptions(labels), console)
    assert WAY_OUT in no.value.hint and "--mean A,B,C" in no.value.hint
    with pytest.raises(ModelError, match="--mean: expected one number or 3"):
        resolve_model(path, ModelOptions(labels, Normalization((1.0, 2.0), (1.0,))), console)
    means = Normalization((0.0, 255.0, 0.0), (255.0, 255.0, 255.0))
    white = answers(resolve_model(path, ModelOptions(labels, means), console))["white"]
    assert white[0] == white[2] == pytest.approx(np.exp(2) / (2 * np.exp(2) + np.exp(-2)), abs=1e-4)


def quantize_first(scale: float, zero_point: int) -> Callable[[Graph], tuple[Value, Value]]:
    """A float input that is quantized and dequantized at once."""

    def head(graph: Graph) -> tuple[Value, Value]:
        shape = (1, SIDE, SIDE, 3)
        source = graph.tensor(shape, "float32")
        stored = graph.tensor(shape, "int8", scale, zero_point)
        stored = graph.operator("QUANTIZE", [source], stored, schema.QuantizeOptionsT())
        return source, graph.operator("DEQUANTIZE", [stored], graph.tensor(shape, "float32"), None)

    return head


@pytest.mark.parametrize(
    ("scale", "zero_point", "mean", "std"),
    [
        (1.0, -128, [0.0], [1.0]),
        (1 / 255, -128, [0.0], [255.0]),
        (1 / 127.5, -1, [127.5], [127.5]),
        (0.00775, 0, [127.5], [127.5]),  # as pictures at hand had it, not quite -1..1
        (0.0186584, -14, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    ],
)
def test_a_first_operator_that_quantizes_says_the_range(
    scale: float,
    zero_point: int,
    mean: list[float],
    std: list[float],
    tmp_path: Path,
    labels: Path,
    console: Console,
) -> None:
    path = dense(tmp_path / "m.tflite", quantize_first(scale, zero_point), softmax)
    found = resolve_model(str(path), ModelOptions(labels), console)
    assert found.settings.mean == pytest.approx(tuple(mean))
    assert found.settings.std == pytest.approx(tuple(std))
    assert "its first operator, QUANTIZE" in found.settings.card["input"]


def test_an_unusual_range_is_not_guessed(tmp_path: Path, labels: Path, console: Console) -> None:
    path = dense(tmp_path / "m.tflite", quantize_first(0.05, 3), softmax)
    with pytest.raises(ModelError, match="QUANTIZE, holds -6.55..6.2") as caught:
        resolve_model(str(path), ModelOptions(labels), console)
    assert WAY_OUT in caught.value.hint


def arithmetic(*steps: tuple[str, Any]) -> Callable[[Graph], tuple[Value, Value]]:
    """An input that goes through operators with constants."""

    def head(graph: Graph) -> tuple[Value, Value]:
        source = x = graph.tensor((1, SIDE, SIDE, 3), "float32")
        for kind, value in steps:
            constant = graph.constant(np.array(value, np.float32))
            options = getattr(schema, f"{kind.capitalize()}OptionsT")()
            x = apply(graph, kind, [x, constant], source.shape, options)
        return source, x

    return head


@pytest.mark.parametrize(
    ("steps", "std"),
    [
        ([("MUL", 1 / 127.5), ("SUB", 1.0)], 1.0),
        ([("MUL", 1 / 255)], 1.0),
        ([("DIV", 255.0)], 1.0),
        ([("SUB", 127.5), ("DIV", 127.5)], 1.0),
        ([("MUL", 2.0), ("ADD", -1.0)], 255.0),
        ([("SUB", [0.485, 0.456, 0.406]), ("DIV", [0.229, 0.224, 0.225])], 255.0),
    ],
)
def test_first_operators_that_rescale_say_the_range(
    steps: list[tuple[str, Any]], std: float, tmp_path: Path, labels: Path, console: Console
) -> None:
    path = dense(tmp_path / "m.tflite", arithmetic(*steps), softmax)
    found = resolve_model(str(path), ModelOptions(labels), console)
    assert (found.settings.mean, found.settings.std) == ((0.0,), (std,))


@pytest.mark.parametrize("steps", [[("MUL", 7.0)], [("SUB", [103.9, 116.8, 123.7])]])
def test_first_operators_that_say_no_usual_range(
    steps: list[tuple[str, Any]], tmp_path: Path, labels: Path, console: Console
) -> None:
    path = dense(tmp_path / "m.tflite", arithmetic(*steps), softmax)
    with pytest.raises(ModelError, match=f"found its first operators, {steps[0][0]} "):
        resolve_model(str(path), ModelOptions(labels), console)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_integers_behind_a_cast_are_pixels(
    dtype: str, tmp_path: Path, labels: Path, console: Console
) -> None:
    def head(graph: Graph) -> tuple[Value, Value]:
        source = graph.tensor((1, SIDE, SIDE, 3), dtype)
        x = apply(graph, "CAST", [source], source.shape, schema.CastOptionsT())
        scale = graph.constant(np.array(1 / 255, np.float32))
        return source, apply(graph, "MUL", [x, scale], source.shape, schema.MulOptionsT())

    found = resolve_model(
        str(dense(tmp_path / "m.tflite", head, softmax)), ModelOptions(labels), console
    )
    assert (found.settings.mean, found.settings.std) == ((0.0,), (1.0,))
    red = answers(found)["red"]
    assert red[0] == pytest.approx(np.exp(2) / (np.exp(2) + 2 * np.exp(-2)), abs=1e-4)


@pytest.mark.parametrize(
    ("scale", "mean", "std"),
    [(255 / 32767, [0.0], [1.0]), (1 / 32767, None, None)],
)
def test_int16_reaches_as_far_down_as_up(
    scale: float, mean: Any, std: Any, tmp_path: Path, labels: Path, console: Console
) -> None:
    """Its zero point is always 0: up to 1 may be 0..1 or -1..1."""

    def head(graph: Graph) -> tuple[Value, Value]:
        source = graph.tensor((1, SIDE, SIDE, 3), "int16", scale)
        return source, apply(graph, "DEQUANTIZE", [source], source.shape)

    path = str(dense(tmp_path / "m.tflite", head, softmax))
    if mean is None:
        with pytest.raises(ModelError, match="scale and zero point hold -1..1"):
            resolve_model(path, ModelOptions(labels), console)
        found = resolve_model(path, ModelOptions(labels, ZERO_TO_ONE), console)
        assert answers(found)["red"] == pytest.approx(expected("softmax", [2, -2, -2]), abs=1e-3)
    else:
        found = resolve_model(path, ModelOptions(labels), console)
        assert (found.settings.mean, found.settings.std) == (tuple(mean), tuple(std))


@pytest.mark.parametrize("kind", ["RESHAPE", "TRANSPOSE"])
def test_the_range_is_seen_behind_what_moves_pixels(
    kind: str, tmp_path: Path, labels: Path, console: Console
) -> None:
    """And with a constant of float16, as a converter for such weights writes it."""

    def head(graph: Graph) -> tuple[Value, Value]:
        picture = (1, SIDE, SIDE, 3)
        shape = picture[1:] if kind == "RESHAPE" else (1, 3, SIDE, SIDE)
        source = graph.tensor(shape, "float32")
        moved = graph.integers(*(picture if kind == "RESHAPE" else (0, 2, 3, 1)))
        x = apply(graph, kind, [source, moved], picture)
        half = graph.constant(np.array(1 / 255, np.float16))
        factor = graph.operator("DEQUANTIZE", [half], graph.tensor((), "float32"), None, 3)
        return source, apply(graph, "MUL", [x, factor], picture, schema.MulOptionsT())

    found = resolve_model(
        str(dense(tmp_path / "m.tflite", head, softmax)), ModelOptions(labels), console
    )
    assert (found.settings.mean, found.settings.std) == ((0.0,), (1.0,))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            arithmetic(("MUL", 1 / 255)),
            "its first operators, MUL 0.003922, as for pixels of 0..255",
        ),
        (quantize_first(1.0, -128), "QUANTIZE, holds 0..255, as for pixels of 0..255"),
    ],
)
def test_what_the_user_says_against_the_file_is_said_aloud(
    head: Any,
    said: str,
    tmp_path: Path,
    labels: Path,
    console: Console,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(dense(tmp_path / "m.tflite", head, softmax))
    card = resolve_model(path, ModelOptions(labels, PLUS_MINUS_ONE), console).settings.card["input"]
    assert (
        f"--mean and --std, though {'' if 'QUANT' not in said else 'its first operator, '}" in card
    )
    assert said in card
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_picture_larger_than_any_memory(tmp_path: Path, labels: Path, console: Console) -> None:
    for side in (2049, 100_000, 2**31 - 1):
        path = str(other([(1, side, side, 3)], [(1, 3)])(tmp_path / "m.tflite"))
        with pytest.raises(ModelError, match="at most 4,194,304 pixels") as caught:
            resolve_model(path, ModelOptions(labels, ZERO_TO_ONE), console)
        assert caught.value.hint


# The input's layout


def reshaped(*shape: int) -> Callable[[Graph], tuple[Value, Value]]:
    """An input of any shape, which becomes a picture as it lies."""

    def head(graph: Graph) -> tuple[Value, Value]:
        source = graph.tensor(shape, "float32")
        picture = (1, SIDE, SIDE, 3)
        options = schema.ReshapeOptionsT(newShape=np.array(picture, np.int32))
        return source, apply(graph, "RESHAPE", [source, graph.integers(*picture)], picture, options)

    return head


@pytest.mark.parametrize(
    ("shape", "size", "layout"),
    [
        ((1, 8, 8, 3), [8, 8, 3], "nhwc"),
        ((8, 8, 3), [8, 8, 3], "nhwc"),
        ((1, 3, 8, 8), [8, 8, 3], "nchw"),
        ((3, 8, 8), [8, 8, 3], "nchw"),
        ((1, 1, 12, 16), [12, 16, 1], "nchw"),
        ((1, 12, 16, 1), [12, 16, 1], "nhwc"),
        ((1, 12, 16), [12, 16, 1], "nhwc"),
        ((12, 16), [12, 16, 1], "nhwc"),
    ],
)
def test_shapes_of_the_input(
    shape: tuple[int, ...],
    size: list[int],
    layout: str,
    tmp_path: Path,
    labels: Path,
    console: Console,
) -> None:
    path = dense(tmp_path / "m.tflite", reshaped(*shape), softmax)
    found = resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)
    assert (found.settings.size, found.settings.layout) == (tuple(size), layout)


def test_a_layout_that_is_not_clear(tmp_path: Path, labels: Path, console: Console) -> None:
    path = str(dense(tmp_path / "m.tflite", reshaped(1, 1, 64, 3), softmax))
    with pytest.raises(ModelError, match="may be read as height, width, channels or") as caught:
        resolve_model(path, ModelOptions(labels, ZERO_TO_ONE), console)
    assert "--layout nhwc" in caught.value.hint
    found = resolve_model(path, ModelOptions(labels, ZERO_TO_ONE, layout="nhwc"), console)
    assert found.settings.size == (1, 64, 3)
    found = resolve_model(path, ModelOptions(labels, ZERO_TO_ONE, layout="nchw"), console)
    assert found.settings.size == (64, 3, 1)
    with pytest.raises(ModelError, match="--layout nchw: expected 3 or 1 channels, found"):
        path = str(dense(tmp_path / "m.tflite", tail=softmax))
        resolve_model(path, ModelOptions(labels, ZERO_TO_ONE, layout="nchw"), console)


# What the output means


def sliced(graph: Graph, x: Value) -> Value:
    """Probabilities of 4 classes, of which the first is left out."""
    paddings = graph.constant(np.array([[0, 0], [1, 0]], np.int32))
    x = softmax(graph, apply(graph, "PAD", [x, paddings], (1, 4), schema.PadOptionsT()))
    begin, size = graph.integers(0, 1), graph.integers(1, 3)
    return apply(graph, "SLICE", [x, begin, size], (1, 3), schema.SliceOptionsT())


def decomposed(graph: Graph, x: Value) -> Value:
    powers = apply(graph, "EXP", [x], x.shape, schema.ExpOptionsT())
    total = apply(
        graph, "SUM", [powers, graph.integers(1)], (1, 1), schema.ReducerOptionsT(keepDims=True)
    )
    return apply(graph, "DIV", [powers, total], x.shape, schema.DivOptionsT())


def reshape(graph: Graph, x: Value) -> Value:
    shape = (1, 1, 1, 3)
    return apply(graph, "RESHAPE", [x, graph.integers(*shape)], shape, schema.ReshapeOptionsT())


def maximum(graph: Graph, x: Value) -> Value:
    small = graph.constant(np.array(1e-9, np.float32))
    return apply(graph, "MAXIMUM", [x, small], x.shape, schema.MaximumMinimumOptionsT())


def concatenated(graph: Graph, x: Value) -> Value:
    options = schema.SliceOptionsT()
    parts = [
        apply(graph, "SLICE", [x, graph.integers(0, n), graph.integers(1, 1)], (1, 1), options)
        for n in range(3)
    ]
    return apply(graph, "CONCATENATION", parts, (1, 3), schema.ConcatenationOptionsT(axis=1))


def joined(graph: Graph, x: Value) -> Value:
    """A softmax, beside another one of half the logits."""
    parts = [softmax(graph, x), softmax(graph, times(0.5)(graph, x))]
    return apply(graph, "CONCATENATION", parts, (1, 6), schema.ConcatenationOptionsT(axis=1))


def negative(graph: Graph, x: Value) -> Value:
    return apply(graph, "NEG", [x], x.shape, schema.NegOptionsT())


def sigmoid_by_tanh(graph: Graph, x: Value) -> Value:
    half = graph.constant(np.array(0.5, np.float32))
    x = apply(graph, "TANH", [times(0.5)(graph, x)], x.shape)
    x = times(0.5)(graph, x)
    return apply(graph, "ADD", [x, half], x.shape, schema.AddOptionsT())


def likeliest(graph: Graph, x: Value) -> Value:
    options = schema.ReducerOptionsT(keepDims=True)
    return apply(graph, "REDUCE_MAX", [x, graph.integers(1)], (1, 1), options)


def behind(first: Tail, *others: Tail) -> Tail:
    def tail(graph: Graph, x: Value) -> Value:
        for each in (first, *others):
            x = each(graph, x)
        return x

    return tail


def logistic(graph: Graph, x: Value) -> Value:
    return apply(graph, "LOGISTIC", [x], x.shape)


def log_softmax(graph: Graph, x: Value) -> Value:
    return apply(graph, "LOG_SOFTMAX", [x], x.shape, schema.LogSoftmaxOptionsT())


PLAIN = {"red": [2, -2, -2], "white": [2, 2, 2]}


def expected(kind: str, logits: list[int]) -> Any:
    values = np.array(logits, float)
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-values))
    if kind == "sliced":
        values = np.append(values, 0)
    return (np.exp(values) / np.exp(values).sum())[:3]


@pytest.mark.parametrize(
    ("tail", "kind", "activation"),
    [
        (softmax, "softmax", ""),
        (behind(softmax, reshape), "softmax", ""),
        (behind(softmax, maximum), "softmax", ""),
        (behind(softmax, concatenated), "softmax", ""),
        (sliced, "sliced", ""),
        (decomposed, "softmax", ""),
        (behind(decomposed, reshape), "softmax", ""),
        (behind(decomposed, concatenated), "softmax", ""),
        (behind(decomposed, maximum), "softmax", ""),
        (log_softmax, "softmax", "softmax"),
        (None, "softmax", "softmax"),
        (reshape, "softmax", "softmax"),
        (logistic, "sigmoid", ""),
        (behind(logistic, concatenated), "sigmoid", ""),
        (sigmoid_by_tanh, "sigmoid", ""),
        (behind(softmax, concatenated, reshape), "softmax", ""),
    ],
)
def test_last_operators(
    tail: Tail | None, kind: str, activation: str, tmp_path: Path, labels: Path, console: Console
) -> None:
    path = dense(tmp_path / "m.tflite", tail=tail)
    found = resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)
    assert found.settings.activation == activation
    scores = answers(found)
    for picture, logits in PLAIN.items():
        assert scores[picture] == pytest.approx(expected(kind, logits), abs=1e-5)


def times(factor: float) -> Tail:
    def tail(graph: Graph, x: Value) -> Value:
        constant = graph.constant(np.array(factor, np.float32))
        return apply(graph, "MUL", [x, constant], x.shape, schema.MulOptionsT())

    return tail


def test_evidence_that_contradicts_itself(tmp_path: Path, labels: Path, console: Console) -> None:
    path = dense(tmp_path / "m.tflite", tail=behind(softmax, times(100)))
    with pytest.raises(ModelError, match="found percentages: .* add up to 100"):
        resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)

    def nearly(graph: Graph, x: Value) -> Value:
        weights = graph.constant(np.eye(3, dtype=np.float32) / 10)
        bias = graph.constant(np.full(3, 0.5, np.float32))
        options = schema.FullyConnectedOptionsT()
        return apply(graph, "FULLY_CONNECTED", [x, weights, bias], (1, 3), options)

    path = dense(tmp_path / "m.tflite", tail=nearly)
    with pytest.raises(ModelError, match="as for logits, but its outputs are within 0..1") as no:
        resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)
    assert "--scores probabilities, --scores logits or --scores scores" in no.value.hint
    for kind, activation in (("logits", "softmax"), ("scores", ""), ("probabilities", "")):
        found = resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE, scores=kind), console)
        assert found.settings.activation == activation
        assert "--scores" in found.settings.card["output"]


def added(graph: Graph, x: Value) -> Value:
    half = graph.constant(np.array(0.5, np.float32))
    return apply(graph, "ADD", [x, half], x.shape, schema.AddOptionsT())


@pytest.mark.parametrize(
    ("tail", "classes", "text"),
    [
        (behind(softmax, times(255)), 3, "found shares: .* they add up to 255"),
        (behind(log_softmax, negative), 3, r"found costs, .* and exp\(-x\) add up to 1"),
        (behind(softmax, likeliest), 1, "found that of the likeliest, by REDUCE_MAX"),
        (lambda graph, x: apply(graph, "TANH", [x], x.shape), 3, "TANH, but its outputs are out"),
        (behind(logistic, times(100)), 3, "LOGISTIC, behind it MUL, but its outputs are outside"),
        (behind(times(0.1), added), 3, "FULLY_CONNECTED, behind it MUL, ADD, as for logits, but"),
    ],
)
def test_scores_of_another_kind(
    tail: Tail, classes: int, text: str, tmp_path: Path, labels: Path, console: Console
) -> None:
    path = dense(tmp_path / "m.tflite", tail=tail)
    labels.write_text("\n".join(["red", "green", "blue"][: max(classes, 2)]))
    with pytest.raises(ModelError, match=text):
        resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)


def test_two_softmaxes_are_no_probabilities(tmp_path: Path, labels: Path, console: Console) -> None:
    """Each adds up to 1: all of them to 2."""
    labels.write_text("a\nb\nc\nd\ne\nf")
    path = dense(tmp_path / "m.tflite", tail=joined)
    found = resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)
    assert "independent scores of 6 classes" in found.settings.card["output"]


def test_what_the_user_says_of_the_output_is_held_against_it(
    tmp_path: Path, labels: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    path = dense(tmp_path / "m.tflite")
    for kind in ("probabilities", "scores"):
        with pytest.raises(ModelError, match=f"--scores {kind}: expected outputs of 0..1") as no:
            resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE, scores=kind), console)
        assert "--scores logits" in no.value.hint
    path = dense(tmp_path / "m.tflite", tail=softmax)
    found = resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE, scores="logits"), Console())
    assert "--scores, though its last operator is SOFTMAX" in found.settings.card["output"]
    assert "though its last operator is SOFTMAX" in capsys.readouterr().err


def test_what_the_user_says_of_the_input_is_held_against_it(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pixels as -1..1 into a tensor that holds 0..1: half of them would be cut off."""
    path = ColourModel(dtype="uint8", softmax=True).write(tmp_path / "m.tflite")
    said = ModelOptions(labels, Normalization((127.5,), (127.5,)))
    found = resolve_model(str(path), said, Console())
    assert "though its scale and zero point hold 0..1" in found.settings.card["input"]
    assert "hold 0..1" in capsys.readouterr().err


def test_one_score_for_each_picture_of_a_free_batch(
    tmp_path: Path, labels: Path, console: Console
) -> None:
    labels.write_text("red\nother\n")
    made = []

    def tail(graph: Graph, x: Value) -> Value:
        x = logistic(graph, x)
        flat = apply(graph, "RESHAPE", [x, graph.integers(-1)], (1,), schema.ReshapeOptionsT())
        graph.tensors[flat.number].shapeSignature = np.array([-1], np.int32)
        made.append(flat)
        return flat

    path = str(dense(tmp_path / "m.tflite", tail=tail, outputs=1))
    found = resolve_model(path, ModelOptions(labels, ZERO_TO_ONE), console)
    share = 1 / (1 + np.exp(-2))
    assert answers(found)["red"] == pytest.approx([share, 1 - share], abs=1e-6)


@pytest.mark.parametrize("quantized", [True, False])
def test_log_softmax_is_taken_off(
    quantized: bool, tmp_path: Path, labels: Path, console: Console
) -> None:
    """A compiled interpreter has none, and looks for each operator that the file lists."""

    def tail(graph: Graph, x: Value) -> Value:
        if not quantized:
            return log_softmax(graph, x)
        stored = graph.tensor(x.shape, "int8", 1 / 20, 0)
        x = graph.operator("QUANTIZE", [x], stored, schema.QuantizeOptionsT())
        logs = graph.tensor(x.shape, "int8", 16 / 256, 127)
        return graph.operator("LOG_SOFTMAX", [x], logs, schema.LogSoftmaxOptionsT(), 2)

    path = str(dense(tmp_path / "m.tflite", tail=tail))
    found = resolve.strip_final_activation(
        resolve_model(path, ModelOptions(labels, ZERO_TO_ONE), console)
    )
    assert "LOG_SOFTMAX" not in found.tflite.versions
    assert answers(found)["red"] == pytest.approx(expected("softmax", [2, -2, -2]), abs=0.02)


def test_outputs_that_are_no_numbers(tmp_path: Path, labels: Path, console: Console) -> None:
    """EXP overflows where pixels enter as 0..255, of which nothing is said but by the user."""
    path = dense(tmp_path / "m.tflite", tail=decomposed)
    said = ModelOptions(labels, Normalization((0.0,), (1.0,)))
    with pytest.raises(ModelError, match=r"found NaN or infinity for \d+ of 15 pictures") as no:
        resolve_model(str(path), said, console)
    assert "--mean, --std" in no.value.hint


def test_outputs_that_are_always_the_same(tmp_path: Path, labels: Path, console: Console) -> None:
    path = dense(tmp_path / "m.tflite", tail=behind(times(0.0), softmax))
    with pytest.raises(ModelError, match="the same for all 15 pictures") as no:
        resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)
    assert "--scores probabilities" in no.value.hint
    found = resolve_model(
        str(path), ModelOptions(labels, ZERO_TO_ONE, scores="probabilities"), console
    )
    assert "the same for all 15 pictures" in found.settings.card["output"]


def test_one_score_of_two_classes(tmp_path: Path, labels: Path, console: Console) -> None:
    labels.write_text("red\nother\n")
    path = dense(tmp_path / "m.tflite", tail=logistic, outputs=1)
    found = resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)
    assert found.settings.labels == ("red", "other")
    share = 1 / (1 + np.exp(-2))
    assert answers(found)["red"] == pytest.approx([share, 1 - share], abs=1e-6)
    assert answers(found)["blue"] == pytest.approx([1 - share, share], abs=1e-6)
    path = dense(tmp_path / "m.tflite", outputs=1)
    with pytest.raises(ModelError, match="found one number that may be any") as caught:
        resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)
    assert "a regression" in caught.value.hint and "--scores logits" in caught.value.hint
    found = resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE, scores="logits"), console)
    assert answers(found)["red"] == pytest.approx([share, 1 - share], abs=1e-6)
    labels.write_text("a\nb\nc\n")
    with pytest.raises(ModelError, match="expected 2 names, .*, found 3"):
        resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)


WEIGHTS = ("uint8", "int8", "float32", "float16")
HEADS = ("softmax", "logits", "sigmoid", "decomposed")
PRODUCT = [
    DenseModel(weights, channels, layout, head, outputs)
    for weights, head in itertools.product(WEIGHTS, HEADS)
    for channels, layout in itertools.product((3, 1), ("nhwc", "nchw", "hwc"))
    for outputs in (1, 2, 3, 1001)
]


def answers_or_is_refused(want: DenseModel, folder: Path, console: Console) -> None:
    """What numpy says; or a refusal with the way out, where its numbers' meaning is not clear."""
    names = folder / "labels.txt"
    names.write_text("\n".join(f"name {n}" for n in range(max(want.outputs, 2))))
    said = ModelOptions(names, None if want.is_quantized else ZERO_TO_ONE)
    try:
        found = resolve.strip_final_activation(
            resolve_model(str(want.write(folder / "m.tflite")), said, console)
        )
    except ModelError as error:
        assert (want.outputs == 1 and want.head != "sigmoid") or want.head == "logits", error
        assert error.hint
        return
    scores = answers(found)
    tolerance = 0.02 if want.is_quantized else 1e-5
    for name, picture in run.generate_pictures(SIDE, SIDE, want.channels).items():
        assert scores[name] == pytest.approx(want.answer(picture), abs=tolerance)


@settings(max_examples=20, deadline=None)
@given(want=st.sampled_from(PRODUCT), seed=st.integers(0, 3))
def test_the_answer_is_what_numpy_says(
    want: DenseModel, seed: int, tmp_path_factory: pytest.TempPathFactory, console: Console
) -> None:
    answers_or_is_refused(replace(want, seed=seed), tmp_path_factory.mktemp("small"), console)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_whole_product(
    weights: str,
    head: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    console: Console,
) -> None:
    if not request.config.getoption("--product"):
        pytest.skip("20 of the product are drawn: --product runs all 384, for some minutes")
    wrong = []
    for want in PRODUCT:
        if (want.weights, want.head) == (weights, head):
            try:
                answers_or_is_refused(want, tmp_path_factory.mktemp("small"), console)
            except AssertionError as error:
                wrong.append(f"{want}: {error}")
    assert not wrong, "\n".join(wrong)


# What is no classifier


def other(
    inputs: list[tuple[int, ...]],
    outputs: list[tuple[int, ...]],
    kind: str = "RESHAPE",
    dtype: str = "float32",
    names: tuple[str, ...] = (),
    custom: str = "",
) -> Callable[[Path], Path]:
    """A model of any inputs and outputs, which does not run."""

    def write(path: Path) -> Path:
        graph = Graph()
        sources = [graph.tensor(shape, dtype) for shape in inputs]
        sinks = []
        for number, shape in enumerate(outputs):
            name = names[number] if names else ""
            output = graph.tensor(shape, "float32", name=name)
            sinks.append(graph.operator(kind, sources[:1], output, custom=custom))
        path.write_bytes(graph.file(sources, sinks))
        return path

    return write


PICTURE = (1, 96, 96, 3)
BOXES = [(1, 10, 4), (1, 10), (1, 10), (1,)]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (other([PICTURE], BOXES), "found 4.*: a detector, which gives boxes"),
        (other([PICTURE], [(1, 896, 16), (1, 896, 1)], names=("boxes", "")), "detector"),
        (
            other([PICTURE], BOXES, "CUSTOM", custom="TFLite_Detection_PostProcess"),
            "TFLite_Detection_PostProcess.*a detector",
        ),
        (other([PICTURE], [(1, 3)], "CUSTOM", custom="edgetpu-custom-op"), "for Edge TPUs"),
        (other([PICTURE], [(1, 3)], "CUSTOM", custom="FlexErf"), "without SELECT_TF_OPS"),
        (other([PICTURE], [(1, 3)], "CUSTOM", custom="Own"), "builtin operators only"),
        (other([PICTURE], [(1, 96, 96, 21)]), "a segmenter"),
        (other([PICTURE], [PICTURE]), "an image for an image"),
        (other([PICTURE], [(1, 1, 17, 3)]), "poses"),
        (other([PICTURE], [(1, 84, 8400)]), "a detector"),
        (other([PICTURE], [(1, 468, 3)]), "landmarks"),
        (other([PICTURE], [(1, 24, 40)]), "a sequence"),
        (other([PICTURE], [(1, 128)], "L2_NORMALIZATION"), "an embedding"),
        (other([PICTURE], [(1, 5), (1, 2)]), "one with several answers"),
        (other([PICTURE], [(1,)], "ARG_MAX"), "the number of a class, by ARG_MAX"),
        (other([PICTURE, (1, 4)], [(1, 3)]), "expected one input, a picture, found 2"),
        (other([(1, 15600)], [(1, 3)]), "a vector enters, such as sound"),
        (other([(15600,)], [(1, 3)]), "a vector enters"),
        (other([(1, 15600, 1)], [(1, 3)]), "one row of 15600 pixels"),
        (other([(1, 96, 96, 4)], [(1, 3)]), "4 channels are not an RGB or grey picture"),
        (other([(1, 98, 40, 2)], [(1, 3)]), "2 channels are not an RGB"),
        (other([(1, 8, 96, 96, 3)], [(1, 3)]), "expected an input of shape"),
        (other([(8, 96, 96, 3)], [(8, 3)]), "a batch of 1 picture, found 8"),
        (other([(1, -1, -1, 3)], [(1, 3)]), "expected an input of a fixed size, found"),
        (MODEL.but(custom="FlexConv"), "operator that is not built into TFLite: FlexConv"),
        (MODEL.but(outputs=2), "expected one output, a score per class, found 2"),
        (MODEL.but(channels=4), "expected an input of shape"),
        (MODEL.but(batch=2), "a batch of 1 picture, found 2"),
        (MODEL.but(dtype="int32"), "does not say how its input"),
    ],
)
def test_named_for_what_it_is(
    write: Any, said: str, tmp_path: Path, labels: Path, console: Console
) -> None:
    path = tmp_path / "m.tflite"
    (write.write if isinstance(write, ColourModel) else write)(path)
    scaled = None if write == MODEL.but(dtype="int32") else ZERO_TO_ONE
    with pytest.raises(ModelError) as caught:
        resolve_model(str(path), ModelOptions(labels, scaled), console)
    text = f"{caught.value} / {caught.value.hint}"
    assert re.search(said, text), text
    assert caught.value.hint


def test_not_a_model(tmp_path: Path, labels: Path, console: Console) -> None:
    content = MODEL.write(tmp_path / "m.tflite").read_bytes()
    path = tmp_path / "m.tflite"
    cuts = [content[: len(content) * part // 8] for part in range(1, 8)]
    for broken in (b"", b"\x1c\0\0\0TFL3", b"PK\x03\x04" + bytes(50), content[:-1], *cuts):
        path.write_bytes(broken)
        with pytest.raises(ModelError, match=r"m\.tflite is (not a|a broken) TFLite model") as no:
            resolve_model(str(path), ModelOptions(labels), console)
        assert no.value.hint
        assert "unpack" not in str(no.value) and "buffer" not in str(no.value)
    with pytest.raises(ModelError, match="mobilenet_v1, efficientnet_lite0 or a .tflite file"):
        resolve_model("mobilnet_v1", ModelOptions(labels), console)


def test_weights_outside_of_the_tables(tmp_path: Path, labels: Path, console: Console) -> None:
    path = DenseModel().write(tmp_path / "m.tflite")
    made = parse_model(path.read_bytes(), "m.tflite").tables
    buffer = next(each for each in made.buffers if each.data is not None)
    content = bytes(buffer.data)
    buffer.data, buffer.offset, buffer.size = None, 4096, len(content)
    path.write_bytes(pack_model(made).ljust(4096, b"\0") + content)
    with pytest.raises(ModelError, match="keeps weights outside of its tables") as caught:
        resolve_model(str(path), ModelOptions(labels, ZERO_TO_ONE), console)
    assert caught.value.hint


# Labels


def test_labels_that_do_not_fit(tmp_path: Path, labels: Path, console: Console) -> None:
    path = str(MODEL.write(tmp_path / "m.tflite"))
    with pytest.raises(ModelError, match="has 3 classes and no labels"):
        resolve_model(path, ModelOptions(), console)
    labels.write_text("one\ntwo\nthree\nfour\nfive")
    with pytest.raises(ModelError, match=r"expected 3 names, .*, found 5 \(lines 1 to 5"):
        resolve_model(path, ModelOptions(labels), console)
    with pytest.raises(ModelError, match="--labels: cannot read .*none.txt"):
        resolve_model(path, ModelOptions(tmp_path / "none.txt"), console)
    with pytest.raises(ModelError, match="--locale de: it chooses among labels inside"):
        resolve_model(path, ModelOptions(labels, locale="de"), console)
    with pytest.raises(ModelError, match="--locale de: m.tflite carries no labels"):
        resolve_model(path, ModelOptions(locale="de"), console)


def test_labels_inside_the_model(tmp_path: Path, console: Console) -> None:
    path = MODEL.write(tmp_path / "m.tflite")
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr("notes.txt", "made on a Tuesday\nwith care\nby hand\n")
    with pytest.raises(ModelError, match="it carries notes.txt, but nothing says that they are"):
        resolve_model(str(path), ModelOptions(), console)
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr("score_calibration.txt", "0.9,0.5\n0.1,0.2\n0.3,0.4\n")
        appended.writestr("labels.txt", "rot\ngrün\nblau\n")
    found = resolve_model(str(path), ModelOptions(), console)
    assert found.settings.labels == ("rot", "grün", "blau")
    assert found.labels_component.source == "labels.txt inside m.tflite"
    assert found.labels_component.licence == "not stated"


def test_metadata_of_the_real_thing(console: Console) -> None:
    """EfficientNet-Lite0 carries normalization and labels as TFLite metadata."""
    path = resolve_model("efficientnet_lite0", ModelOptions(), console).path
    metadata = read_model(path).metadata
    assert (metadata.mean, metadata.std) == ((127.0,), (128.0,))
    assert (metadata.low, metadata.high) == ((0.0,), (255.0,))
    assert [file.kind for file in metadata.files] == [AXIS_LABELS]
    name = metadata.files[0].name
    assert name == "labels_without_background.txt"
    assert len(metadata.archive[name].splitlines()) == 1000


# What a model becomes


def test_the_card(tmp_path: Path, labels: Path, console: Console) -> None:
    path = MODEL.but(softmax=True).write(tmp_path / "m.tflite")
    card = resolve.strip_final_activation(
        resolve_model(str(path), ModelOptions(labels), console)
    ).settings.card
    assert card == {
        "input": "8 x 8 RGB, channels last, uint8; pixels enter as 0..1 (its scale and zero point "
        "hold 0..1)",
        "output": "probabilities of 3 classes, as they are (its last operator is SOFTMAX); the "
        "function does the softmax, in float: its own knows 256 steps",
        "labels": "3 from labels.txt (lines of text): 'red' to 'blue'; no background class",
        "operators": "MEAN 2",
    }
    json.dumps(card)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_quantized_softmax_is_done_in_float(
    dtype: str, tmp_path: Path, labels: Path, console: Console
) -> None:
    """Same order where it was not a tie, and more than 256 steps."""
    path = DenseModel(dtype, head="softmax", outputs=30, seed=5).write(tmp_path / "m.tflite")
    labels.write_text("\n".join(f"name {n}" for n in range(30)))
    before = resolve_model(str(path), ModelOptions(labels), console)
    after = resolve.strip_final_activation(before)
    assert after.settings.activation == "softmax"
    assert [operator.name for operator in after.tflite.operators][-1] == "FULLY_CONNECTED"
    assert (tmp_path / "m.tflite").read_bytes() == before.path.read_bytes()
    coarse, fine = answers(before), answers(after)
    for picture in coarse:
        assert fine[picture] == pytest.approx(coarse[picture], abs=0.5 / 256 + 1e-6)
        order = np.argsort(-fine[picture], kind="stable")
        assert (np.diff(coarse[picture][order]) <= 0).all()
    assert resolve.strip_final_activation(after) is after


def test_a_float_softmax_stays(tmp_path: Path, labels: Path, console: Console) -> None:
    found = resolve_model(
        str(dense(tmp_path / "m.tflite", tail=softmax)), ModelOptions(labels, ZERO_TO_ONE), console
    )
    assert resolve.strip_final_activation(found) is found


@pytest.mark.parametrize("name", ["model.json", "a b.TFLITE", "model", ".tflite"])
def test_names_of_files(name: str, tmp_path: Path, labels: Path, console: Console) -> None:
    """In the zip they stay apart from the settings beside them, and end as models do."""
    found = resolve_model(str(MODEL.write(tmp_path / name)), ModelOptions(labels), console)
    assert found.settings.file != "model.json"
    assert re.fullmatch(r"[\w.-]+\.tflite", found.settings.file)


def test_provenance(tmp_path: Path, labels: Path, console: Console) -> None:
    path = MODEL.write(tmp_path / "m.tflite")
    found = resolve_model(str(path), ModelOptions(labels), console)
    assert found.component.source == "m.tflite (given with --model)"
    assert found.labels_component.source == "labels.txt (given with --labels)"
    assert found.component.licence == found.labels_component.licence == "not stated"
    assert not found.labels_component.licence_texts
    assert tuple(found.settings.labels) == COLOURS
