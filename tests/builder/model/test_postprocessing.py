"""What an output means: the option, the last operators and the outputs decide, or a refusal."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.normalization import Normalization
from builder.model.resolve import strip_final_activation
from builder.model.run import generate_pictures
from tests.builder.model.conftest import (
    ZERO_TO_ONE,
    Resolver,
    Tail,
    answers,
    apply,
    dense,
    expected,
    softmax,
)
from tests.support.models import SIDE, DenseModel, Graph, Value

SHARE = 1 / (1 + np.exp(-2))


# Operators after the dense layer


def chain(*tails: Tail) -> Tail:
    def tail(graph: Graph, x: Value) -> Value:
        for each in tails:
            x = each(graph, x)
        return x

    return tail


def unary(kind: str, options: Any = None) -> Tail:
    return lambda graph, x: apply(graph, kind, [x], x.shape, options)


def with_constant(kind: str, value: float) -> Tail:
    options = {
        "MUL": schema.MulOptionsT,
        "ADD": schema.AddOptionsT,
        "MAXIMUM": schema.MaximumMinimumOptionsT,
    }[kind]

    def tail(graph: Graph, x: Value) -> Value:
        constant = graph.constant(np.array(value, np.float32))
        return apply(graph, kind, [x, constant], x.shape, options())

    return tail


logistic = unary("LOGISTIC")
log_softmax = unary("LOG_SOFTMAX", schema.LogSoftmaxOptionsT())
maximum = with_constant("MAXIMUM", 1e-9)
sigmoid_by_tanh = chain(
    with_constant("MUL", 0.5), unary("TANH"), with_constant("MUL", 0.5), with_constant("ADD", 0.5)
)


def slice_of_four(graph: Graph, x: Value) -> Value:
    """Probabilities of four classes, the first of which is left out."""
    paddings = graph.constant(np.array([[0, 0], [1, 0]], np.int32))
    x = softmax(graph, apply(graph, "PAD", [x, paddings], (1, 4), schema.PadOptionsT()))
    begin, size = graph.integers(0, 1), graph.integers(1, 3)
    return apply(graph, "SLICE", [x, begin, size], (1, 3), schema.SliceOptionsT())


def decomposed(graph: Graph, x: Value) -> Value:
    powers = apply(graph, "EXP", [x], x.shape, schema.ExpOptionsT())
    options = schema.ReducerOptionsT(keepDims=True)
    total = apply(graph, "SUM", [powers, graph.integers(1)], (1, 1), options)
    return apply(graph, "DIV", [powers, total], x.shape, schema.DivOptionsT())


def reshape(graph: Graph, x: Value) -> Value:
    shape = (1, 1, 1, 3)
    return apply(graph, "RESHAPE", [x, graph.integers(*shape)], shape, schema.ReshapeOptionsT())


def concatenated(graph: Graph, x: Value) -> Value:
    size, options = graph.integers(1, 1), schema.SliceOptionsT()
    parts = [
        apply(graph, "SLICE", [x, graph.integers(0, n), size], (1, 1), options) for n in range(3)
    ]
    return apply(graph, "CONCATENATION", parts, (1, 3), schema.ConcatenationOptionsT(axis=1))


def two_softmaxes(graph: Graph, x: Value) -> Value:
    parts = [softmax(graph, x), softmax(graph, with_constant("MUL", 0.5)(graph, x))]
    return apply(graph, "CONCATENATION", parts, (1, 6), schema.ConcatenationOptionsT(axis=1))


def likeliest(graph: Graph, x: Value) -> Value:
    options = schema.ReducerOptionsT(keepDims=True)
    return apply(graph, "REDUCE_MAX", [x, graph.integers(1)], (1, 1), options)


def within_zero_to_one(graph: Graph, x: Value) -> Value:
    """Another dense layer, whose outputs happen to be within 0..1."""
    weights = graph.constant(np.eye(3, dtype=np.float32) / 10)
    bias = graph.constant(np.full(3, 0.5, np.float32))
    options = schema.FullyConnectedOptionsT()
    return apply(graph, "FULLY_CONNECTED", [x, weights, bias], (1, 3), options)


@pytest.mark.parametrize(
    ("tail", "kind", "activation"),
    [
        (softmax, "softmax", ""),
        (chain(softmax, reshape), "softmax", ""),
        (chain(softmax, maximum), "softmax", ""),
        (chain(softmax, concatenated, reshape), "softmax", ""),
        (slice_of_four, "slice", ""),
        (chain(decomposed, reshape), "softmax", ""),
        (chain(decomposed, concatenated), "softmax", ""),
        (chain(decomposed, maximum), "softmax", ""),
        (log_softmax, "softmax", "softmax"),
        (None, "softmax", "softmax"),
        (reshape, "softmax", "softmax"),
        (logistic, "sigmoid", ""),
        (chain(logistic, concatenated), "sigmoid", ""),
        (sigmoid_by_tanh, "sigmoid", ""),
    ],
)
def test_last_operators_tell_the_kind(
    tail: Tail | None, kind: str, activation: str, resolved: Resolver
) -> None:
    found = resolved(dense(tail=tail), ZERO_TO_ONE)
    assert found.settings.activation == activation
    scores = answers(found)
    for picture, logits in {"red": [2.0, -2, -2], "white": [2.0, 2, 2]}.items():
        wanted = expected(kind, [*logits, *([0] if kind == "slice" else [])])[:3]
        assert scores[picture] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("tail", "outputs", "text"),
    [
        (chain(softmax, with_constant("MUL", 100)), 3, "found percentages: .* add up to 100"),
        (chain(softmax, with_constant("MUL", 255)), 3, "found shares: .* they add up to 255"),
        (
            chain(log_softmax, unary("NEG", schema.NegOptionsT())),
            3,
            r"found costs, .* and exp\(-x\) add up to 1",
        ),
        (chain(softmax, likeliest), 3, "found that of the likeliest, by REDUCE_MAX"),
        (unary("TANH"), 3, "TANH, but its outputs are outside"),
        (
            chain(logistic, with_constant("MUL", 100)),
            3,
            "LOGISTIC, behind it MUL, but its outputs are outside",
        ),
        (
            chain(with_constant("MUL", 0.1), with_constant("ADD", 0.5)),
            3,
            "FULLY_CONNECTED, behind it MUL, ADD, as for logits, but",
        ),
        (None, 1, "found one number that may be any"),
        (chain(with_constant("MUL", 0.0), softmax), 3, "the same for all 15 pictures"),
    ],
)
def test_output_that_is_not_a_score_per_class_is_refused(
    tail: Tail | None, outputs: int, text: str, resolved: Resolver
) -> None:
    resolved.labels.write_text("\n".join(["red", "green", "blue"][: max(outputs, 2)]))
    with pytest.raises(ModelError, match=text) as caught:
        resolved(dense(tail=tail, outputs=outputs), ZERO_TO_ONE)
    assert caught.value.hint


def test_outputs_that_contradict_the_file_need_an_option(resolved: Resolver) -> None:
    model = dense(tail=within_zero_to_one)
    with pytest.raises(ModelError, match="as for logits, but its outputs are within 0..1") as no:
        resolved(model, ZERO_TO_ONE)
    assert "--scores probabilities, --scores logits or --scores scores" in no.value.hint
    for kind, activation in (("logits", "softmax"), ("scores", ""), ("probabilities", "")):
        found = resolved(model, ZERO_TO_ONE, scores=kind)
        assert found.settings.activation == activation
        assert "--scores" in found.settings.card["output"]


def test_two_softmaxes_are_independent_scores(resolved: Resolver) -> None:
    """Each adds up to 1: all of them to 2."""
    resolved.labels.write_text("a\nb\nc\nd\ne\nf")
    card = resolved(dense(tail=two_softmaxes), ZERO_TO_ONE).settings.card
    assert "independent scores of 6 classes" in card["output"]


@pytest.mark.parametrize("kind", ["probabilities", "scores"])
def test_scores_outside_zero_to_one_are_refused(kind: str, resolved: Resolver) -> None:
    with pytest.raises(ModelError, match=f"--scores {kind}: expected outputs of 0..1") as no:
        resolved(dense(), ZERO_TO_ONE, scores=kind)
    assert "--scores logits" in no.value.hint


@pytest.mark.parametrize(
    ("tail", "kind", "text"),
    [
        (softmax, "logits", "its last operator is SOFTMAX"),
        (chain(with_constant("MUL", 0.0), softmax), "probabilities", "the same for all 15 pic"),
    ],
)
def test_option_that_contradicts_the_file_is_used_with_a_warning(
    tail: Tail, kind: str, text: str, resolved: Resolver, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved.console = Console()
    card = resolved(dense(tail=tail), ZERO_TO_ONE, scores=kind).settings.card
    assert "--scores, though" in card["output"] and text in card["output"]
    assert text in " ".join(capsys.readouterr().err.split())


def test_outputs_that_are_not_finite_are_refused(resolved: Resolver) -> None:
    """EXP overflows where pixels enter as 0..255, as only the user says."""
    with pytest.raises(ModelError, match=r"found NaN or infinity for \d+ of 15 pictures") as no:
        resolved(dense(tail=decomposed), Normalization((0.0,), (1.0,)))
    assert "--mean, --std" in no.value.hint


def free_batch(graph: Graph, x: Value) -> Value:
    """One score for each picture of a free batch."""
    x = logistic(graph, x)
    flat = apply(graph, "RESHAPE", [x, graph.integers(-1)], (1,), schema.ReshapeOptionsT())
    graph.tensors[flat.number].shapeSignature = np.array([-1], np.int32)
    return flat


@pytest.mark.parametrize(
    ("tail", "scores"), [(logistic, ""), (free_batch, ""), (None, "logits"), (logistic, "scores")]
)
def test_one_score_is_that_of_the_first_of_two_classes(
    tail: Tail | None, scores: str, resolved: Resolver
) -> None:
    resolved.labels.write_text("red\nother\n")
    found = resolved(dense(tail=tail, outputs=1), ZERO_TO_ONE, scores=scores)
    assert found.settings.labels == ("red", "other")
    assert answers(found)["red"] == pytest.approx([SHARE, 1 - SHARE], abs=1e-6)
    assert answers(found)["blue"] == pytest.approx([1 - SHARE, SHARE], abs=1e-6)


# Activations that the function applies in float


def quantized_log_softmax(graph: Graph, x: Value) -> Value:
    stored = graph.tensor(x.shape, "int8", 1 / 20, 0)
    x = graph.operator("QUANTIZE", [x], stored, schema.QuantizeOptionsT())
    logs = graph.tensor(x.shape, "int8", 16 / 256, 127)
    return graph.operator("LOG_SOFTMAX", [x], logs, schema.LogSoftmaxOptionsT(), 2)


@pytest.mark.parametrize("tail", [log_softmax, quantized_log_softmax])
def test_log_softmax_is_stripped(tail: Tail, resolved: Resolver) -> None:
    """A compiled interpreter has none, and looks for each operator that the file lists."""
    found = strip_final_activation(resolved(dense(tail=tail), ZERO_TO_ONE))
    assert "LOG_SOFTMAX" not in found.tflite.versions
    assert answers(found)["red"] == pytest.approx(expected("softmax", [2, -2, -2]), abs=0.02)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_quantized_softmax_is_computed_in_float(dtype: str, resolved: Resolver) -> None:
    """The order stays where there was no tie, and there are more than 256 steps."""
    resolved.labels.write_text("\n".join(f"name {n}" for n in range(30)))
    before = resolved(DenseModel(dtype, head="softmax", outputs=30, seed=5))
    after = strip_final_activation(before)
    assert after.settings.activation == "softmax"
    assert after.tflite.operators[-1].name == "FULLY_CONNECTED"
    coarse, fine = answers(before), answers(after)
    for picture in coarse:
        assert fine[picture] == pytest.approx(coarse[picture], abs=0.5 / 256 + 1e-6)
        order = np.argsort(-fine[picture], kind="stable")
        assert (np.diff(coarse[picture][order]) <= 0).all()
    assert strip_final_activation(after) is after


def test_float_softmax_stays(resolved: Resolver) -> None:
    found = resolved(dense(tail=softmax), ZERO_TO_ONE)
    assert strip_final_activation(found) is found


# All forms of a dense model

FORMS = [
    DenseModel(weights, channels, layout, head, outputs)
    for weights in ("uint8", "int8", "float32", "float16")
    for head in ("softmax", "logits", "sigmoid", "decomposed")
    for channels, layout in itertools.product((3, 1), ("nhwc", "nchw", "hwc"))
    for outputs in (1, 2, 3, 1001)
]


@settings(max_examples=20, deadline=None)
@given(want=st.sampled_from(FORMS), seed=st.integers(0, 3))
def test_answers_are_numpys(
    want: DenseModel, seed: int, tmp_path_factory: pytest.TempPathFactory, console: Console
) -> None:
    """A refusal is right where the meaning of the numbers is unclear."""
    want, resolved = replace(want, seed=seed), Resolver(tmp_path_factory.mktemp("dense"), console)
    resolved.labels.write_text("\n".join(f"name {n}" for n in range(max(want.outputs, 2))))
    try:
        found = strip_final_activation(resolved(want, None if want.is_quantized else ZERO_TO_ONE))
    except ModelError as error:
        assert (want.outputs == 1 and want.head != "sigmoid") or want.head == "logits", error
        assert error.hint
        return
    scores = answers(found)
    tolerance = 0.02 if want.is_quantized else 1e-5
    for name, picture in generate_pictures(SIDE, SIDE, want.channels).items():
        assert scores[name] == pytest.approx(want.answer(picture), abs=tolerance)
