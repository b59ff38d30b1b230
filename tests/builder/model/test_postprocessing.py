"""What an output means: the option, the last operators and the outputs decide, or a refusal."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.normalization import BYTES
from builder.model.resolve import strip_final_activation
from builder.model.run import generate_pictures
from tests.builder.model.conftest import (
    ZERO_TO_ONE,
    Resolver,
    Step,
    answers,
    chain,
    dense,
    expected,
    quantize,
    reshape,
    softmax,
    unary,
    with_constant,
)
from tests.support.models import SIDE, DenseModel, Graph, Value

SHARE = 1 / (1 + np.exp(-2))


# Operators after the dense layer

logistic, log_softmax = unary("LOGISTIC"), unary("LOG_SOFTMAX")
flat = reshape(1, 1, 1, 3)
constant = chain(with_constant("MUL", 0.0), softmax)
sigmoid_by_tanh = chain(
    with_constant("MUL", 0.5), unary("TANH"), with_constant("MUL", 0.5), with_constant("ADD", 0.5)
)


def reduce(kind: str) -> Step:
    options = schema.ReducerOptionsT(keepDims=True)
    return lambda graph, x: graph.operator(kind, [x, graph.integers(1)], (1, 1), options)


def decomposed(graph: Graph, x: Value) -> Value:
    powers = graph.operator("EXP", [x], x.shape)
    return graph.operator("DIV", [powers, reduce("SUM")(graph, powers)], x.shape)


def within_zero_to_one(graph: Graph, x: Value) -> Value:
    """Another dense layer, whose outputs happen to be within 0..1."""
    weights = graph.constant(np.eye(3, dtype=np.float32) / 10)
    bias = graph.constant(np.full(3, 0.5, np.float32))
    return graph.operator("FULLY_CONNECTED", [x, weights, bias], (1, 3))


@pytest.mark.parametrize(
    ("tail", "kind", "activation"),
    [
        (softmax, "softmax", ""),
        (chain(softmax, flat), "softmax", ""),
        (chain(decomposed, flat), "softmax", ""),
        (log_softmax, "softmax", "softmax"),
        (None, "softmax", "softmax"),
        (flat, "softmax", "softmax"),
        (chain(with_constant("MUL", 1.0), with_constant("ADD", 0.0)), "softmax", "softmax"),
        (logistic, "sigmoid", ""),
        (sigmoid_by_tanh, "sigmoid", ""),
    ],
)
def test_last_operators_tell_the_kind(
    tail: Step | None, kind: str, activation: str, resolved: Resolver
) -> None:
    found = resolved(dense(tail=tail), ZERO_TO_ONE)
    assert found.settings.activation == activation
    scores = answers(found)
    for picture, logits in {"red": [2.0, -2, -2], "white": [2.0, 2, 2]}.items():
        wanted = expected(kind, logits)
        assert scores[picture] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("tail", "options", "text"),
    [
        (chain(softmax, with_constant("MUL", 100)), {}, "but its outputs are shares of 100"),
        (chain(decomposed, with_constant("MUL", 255)), {}, "but its outputs are shares of 255"),
        (chain(log_softmax, unary("NEG")), {}, "NEG, but its outputs are outside"),
        (chain(softmax, reduce("REDUCE_MAX")), {}, "found that of the likeliest, by REDUCE_MAX"),
        (unary("TANH"), {}, "TANH, but its outputs are outside"),
        (
            chain(logistic, with_constant("MUL", 100), with_constant("ADD", 0)),
            {},
            "LOGISTIC, behind it MUL, ADD, but its outputs are outside",
        ),
        (within_zero_to_one, {}, "as for logits, but its outputs are within 0..1"),
        (chain(within_zero_to_one, with_constant("ADD", 0)), {}, "ADD, as for logits, but"),
        (constant, {}, "the same for all 15 pictures"),
        (None, {"scores": "probabilities"}, "--scores probabilities: expected outputs of 0..1"),
        (None, {"scores": "scores"}, "--scores scores: expected outputs of 0..1"),
        # EXP overflows where pixels enter as 0..255, as only the user says
        (decomposed, {"normalization": BYTES}, r"found NaN or infinity for \d+ of 15 pictures"),
    ],
)
def test_output_that_is_not_a_score_per_class_is_refused(
    tail: Step | None, options: dict[str, Any], text: str, resolved: Resolver
) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        resolved(dense(tail=tail), **{"normalization": ZERO_TO_ONE, **options})
    assert re.search("--scores|--mean|without its last operator", caught.value.hint)


def test_one_number_that_may_be_any_is_refused(resolved: Resolver) -> None:
    resolved.labels.write_text("red\nother")
    with pytest.raises(ModelError, match="its outputs are one number that may be any"):
        resolved(dense(outputs=1), ZERO_TO_ONE)


@pytest.mark.parametrize(
    ("tail", "kind", "activation", "doubt"),
    [
        (within_zero_to_one, "logits", "softmax", ""),
        (within_zero_to_one, "scores", "", "its last operator is FULLY_CONNECTED"),
        (within_zero_to_one, "probabilities", "", "do not add up to 1"),
        (softmax, "logits", "softmax", "its last operator is SOFTMAX"),
        (constant, "probabilities", "", "the same for all 15 pictures"),
    ],
)
def test_option_is_used_with_a_warning_about_what_contradicts_it(
    tail: Step,
    kind: str,
    activation: str,
    doubt: str,
    resolved: Resolver,
    capsys: pytest.CaptureFixture[str],
) -> None:
    resolved.console = Console()
    settings = resolved(dense(tail=tail), ZERO_TO_ONE, scores=kind).settings
    assert settings.activation == activation
    assert "--scores" in settings.card["output"] and doubt in settings.card["output"]
    warning = " ".join(capsys.readouterr().err.split())
    assert doubt in warning if doubt else not warning


def free_batch(graph: Graph, x: Value) -> Value:
    """One score for each picture of a free batch."""
    x = reshape(1)(graph, logistic(graph, x))
    graph.tensors[x.number].shapeSignature = np.array([-1], np.int32)
    return x


@pytest.mark.parametrize(
    ("tail", "scores"), [(logistic, ""), (free_batch, ""), (None, "logits"), (logistic, "scores")]
)
def test_one_score_is_that_of_the_first_of_two_classes(
    tail: Step | None, scores: str, resolved: Resolver
) -> None:
    resolved.labels.write_text("red\nother\n")
    found = resolved(dense(tail=tail, outputs=1), ZERO_TO_ONE, scores=scores)
    assert found.settings.labels == ("red", "other")
    assert answers(found)["red"] == pytest.approx([SHARE, 1 - SHARE], abs=1e-6)
    assert answers(found)["blue"] == pytest.approx([1 - SHARE, SHARE], abs=1e-6)


# Activations that the function applies in float


def test_log_softmax_is_stripped(resolved: Resolver) -> None:
    """A compiled interpreter has none, and looks for each operator that the file lists."""
    found = strip_final_activation(resolved(dense(tail=log_softmax), ZERO_TO_ONE))
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
    for found in (after, resolved(DenseModel(outputs=30), ZERO_TO_ONE)):
        assert strip_final_activation(found) is found


def test_softmax_of_scaled_logits_stays(resolved: Resolver) -> None:
    """The function's own has no factor."""

    def tail(graph: Graph, x: Value) -> Value:
        x, output = quantize(1 / 20, 0)(graph, x), graph.tensor(x.shape, "int8", 1 / 256, -128)
        return graph.operator("SOFTMAX", [x], output, schema.SoftmaxOptionsT(beta=0.5), version=2)

    found = resolved(dense(tail=tail), ZERO_TO_ONE)
    assert strip_final_activation(found) is found


# All forms of a dense model

FORMS = [
    DenseModel(weights, channels, layout, head, outputs)
    for weights in ("uint8", "int8", "float32", "float16")
    for head in ("softmax", "logits", "sigmoid", "decomposed")
    for channels, layout in itertools.product((3, 1), ("nhwc", "nchw"))
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
