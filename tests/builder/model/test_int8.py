"""The int8 conversion: exact channels stay exact, rescaled ones err by half a step at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import build
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.agreement import check_agreement
from builder.model.int8 import HINT, Int8Model, convert_to_int8
from builder.model.resolve import ModelOptions
from builder.model.tflite import OPERATORS, operator_name, pack_model, parse_model, read_model
from tests.builder.model.conftest import Resolver
from tests.conftest import HERE, at_hand
from tests.support.models import Array, ColourModel, QuantizedNetwork, Value

# Operators with weights, and the dimension of these that scales are for.
WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": None}


def parsed(content: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(content)


def convert(content: bytes) -> Int8Model | None:
    return convert_to_int8(parse_model(content, "m.tflite"))


def converted(network: QuantizedNetwork) -> bytes:
    found = convert(network.content())
    assert found is not None
    return found.content


def values(content: bytes, picture: Array) -> dict[int, Array]:
    """Run a model with reference kernels; return number -> q - z of every tensor."""
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    flip = 0 if source["dtype"] == np.uint8 else 0x80
    interpreter.set_tensor(source["index"], (picture ^ flip).view(source["dtype"]))
    interpreter.invoke()
    return {
        about["index"]: interpreter.get_tensor(about["index"]).astype(int)
        - about["quantization"][1]
        for about in interpreter.get_tensor_details()
        if about["dtype"] in (np.uint8, np.int8)
    }


def real_values(tables: Any, number: int) -> tuple[Array, Array]:
    """Return what the numbers of a constant tensor mean, and the step of each."""
    tensor = tables.subgraphs[0].tensors[number]
    about, dtype = tensor.quantization, {2: "<i4", 3: "u1", 9: "i1"}[tensor.type]
    stored = tables.buffers[tensor.buffer].data.view(dtype).reshape(tensor.shape)
    shape = np.where(np.arange(stored.ndim) == about.quantizedDimension, len(about.scale), 1)
    steps = about.scale.astype(float).reshape(shape)
    return steps * (stored - about.zeroPoint.reshape(shape)), steps


def check_constants(content: bytes, result: bytes) -> None:
    """Hold weights and biases to half a step, those that need no larger scale to nothing."""
    graphs = [parsed(each) for each in (content, result)]
    weighted = (
        [each for each in graph.subgraphs[0].operators if operator_name(graph, each) in WEIGHTED]
        for graph in graphs
    )
    for old, new in zip(*weighted, strict=True):
        for place in (1, 2):
            before, old_step = real_values(graphs[0], old.inputs[place])
            after, step = real_values(graphs[1], new.inputs[place])
            allowed = np.where(step > old_step * (1 + 1e-6), 0.501 * step, 1e-6 * step)
            assert (abs(after - before) <= allowed).all()
            if place == 1:
                axis = WEIGHTED[operator_name(graphs[0], old)]
                assert step.size == (1 if axis is None else before.shape[axis])


def check_layers(content: bytes, result: bytes, picture: Array) -> None:
    """Hold every layer whose inputs and weights are the same to the same output.

    Reference kernels give the same bits, but where int8 rounds otherwise: halves in average pools,
    and inputs of a concatenation that are requantized. (Multipliers may differ by 1e-7, as one is
    a product in float32: one element in a hundred is forgiven.)
    """
    before, after = values(content, picture), values(result, picture)
    for operator in parse_model(content, "m.tflite").operators:
        inputs = [each.number for each in operator.inputs if each and each.number in before]
        if all((before[number] == after[number]).all() for number in inputs):
            output = operator.outputs[0].number
            moved = abs(before[output] - after[output])
            assert moved.max() <= 1, operator.name
            if operator.name not in ("AVERAGE_POOL_2D", "CONCATENATION"):
                assert (moved > 0).sum() <= max(1, moved.size / 100), operator.name


# Methods of QuantizedNetwork, with their argument.
LAYERS: list[tuple[str, Any]] = [
    *(("convolution", 1), ("convolution", 6), ("depthwise", 1), ("depthwise", 2)),
    *(("pool", "AVERAGE_POOL_2D"), ("pool", "MAX_POOL_2D")),
    *(("combine", "ADD"), ("combine", "SUB"), ("combine", "MUL")),
    *(("activate", "RELU"), ("activate", "RELU6"), ("pad", None), ("pad", 0), ("pad", 77)),
    *(("join", "ADD"), ("join", "CONCATENATION")),
]


@st.composite
def networks(draw: Callable[..., Any]) -> QuantizedNetwork:
    """Return a network of random layers; half of these keep the scales of all their weights."""
    network = QuantizedNetwork(draw(st.integers(0, 2**32 - 1)), wide=draw(st.booleans()) / 2)
    network.convolution(4)
    for method, argument in draw(st.lists(st.sampled_from(LAYERS), max_size=4)):
        getattr(network, method)(argument)
    draw(st.sampled_from([network.mean, network.reshape, network.squeeze]))()
    network.dense(5)
    network.activate(draw(st.sampled_from(["SOFTMAX", "LOGISTIC"])))
    return network


@given(networks())
@settings(max_examples=200, deadline=None)
def test_layers_move_by_rounding_only(network: QuantizedNetwork) -> None:
    found = convert(network.content())
    assert found is not None
    assert (found.error == 0) == (found.rescaled == 0)
    picture = network.random.integers(0, 256, network.source.shape, np.uint8)
    check_constants(network.content(), found.content)
    check_layers(network.content(), found.content, picture)


def test_file_has_int8_versions_and_aligned_buffers() -> None:
    """No uint8 is left; constants are aligned as the schema asks; codes and versions are right."""
    network = QuantizedNetwork(1)
    network.convolution()
    result = converted(network.classifier())
    found = parsed(result)
    types = {tensor.type for tensor in found.subgraphs[0].tensors}
    assert types == {schema.TensorType.INT8, schema.TensorType.INT32}
    versions = {OPERATORS[code.builtinCode]: code.version for code in found.operatorCodes}
    assert versions == {"CONV_2D": 3, "MEAN": 2, "FULLY_CONNECTED": 4, "SOFTMAX": 2}
    assert all(code.deprecatedBuiltinCode == code.builtinCode for code in found.operatorCodes)
    root = schema.Model.GetRootAs(result)
    starts = [
        table.Vector(table.Offset(4))
        for table in (root.Buffers(i)._tab for i in range(root.BuffersLength()))
        if table.Offset(4)
    ]
    assert len(starts) == 5 and not any(start % 16 for start in starts)
    assert convert(result) is None


def test_model_without_uint8_weights_stays(tmp_path: Path) -> None:
    content = ColourModel("uint8", softmax=True).write(tmp_path / "m.tflite").read_bytes()
    assert convert(content) is None


def test_shared_weights_and_biases_are_converted_per_role() -> None:
    """Operators with other input scales share them, an addition, and a tensor on their buffer."""
    network = QuantizedNetwork(3, (1, 3, 3, 4), wide=1.0)
    network.depthwise()
    number, bias = (int(i) for i in network.operators[0].inputs[1:])
    about = network.tensors[number].quantization
    shared = Value(number, (1, 3, 3, 4), float(about.scale[0]), int(about.zeroPoint[0]))
    network.depthwise(weights=shared)
    network.operators[1].inputs[2] = bias
    network.combine("ADD", shared)
    twin = network.tensor(shared.shape, "uint8", 0.01, 7)
    network.tensors[twin.number].buffer = network.tensors[number].buffer
    network.combine("ADD", twin)
    content = network.classifier().content()
    result = converted(network)
    first, second, third, fourth, *_ = parsed(result).subgraphs[0].operators
    assert first.inputs[1] == second.inputs[1] != third.inputs[1]
    assert first.inputs[2] != second.inputs[2]
    picture = network.random.integers(0, 256, network.source.shape, np.uint8)
    before, after = values(content, picture), values(result, picture)
    for operator, constant in ((third, shared), (fourth, twin)):
        assert (after[operator.inputs[1]] == before[constant.number]).all()
    check_layers(content, result, picture)


def test_float_inputs_and_outputs_stay(resolved: Resolver, tmp_path: Path) -> None:
    network = QuantizedNetwork(6)
    network.convolution()
    network.classifier(3)
    source, output = network.source, network.last
    network.source = network.tensor(source.shape)
    network.operator("QUANTIZE", [network.source], source)
    network.operators.insert(0, network.operators.pop())
    network.operator("DEQUANTIZE", [output], output.shape)
    (tmp_path / "int8.tflite").write_bytes(converted(network))
    original = resolved(network.content())
    assert original.tflite.inputs[0].dtype == "float32"
    assert check_agreement(original, tmp_path / "int8.tflite", SAMPLE).probability <= 0.05
    ends = read_model(tmp_path / "int8.tflite")
    assert {each.dtype for each in (*ends.inputs, *ends.outputs)} == {"float32"}


FLOAT = {"type": schema.TensorType.FLOAT32, "quantization": None}
SCALES = {"scale": np.full(4, 0.1, "<f4"), "zeroPoint": np.full(4, 3)}
PER_CHANNEL = {"quantization": schema.QuantizationParametersT(**SCALES)}


@pytest.mark.parametrize(
    ("tensor", "changes", "text"),
    [
        (1, {"buffer": 0}, r"0, CONV_2D: expected constant weights, found .*\(t1\): uint8"),
        (0, FLOAT, r"CONV_2D: expected a dense uint8 tensor .*tensor 0 \(t0\): float32"),
        (1, PER_CHANNEL, r"CONV_2D: expected .* one scale and .*\(t1\): uint8, scale of 4 val"),
        (2, FLOAT, r"CONV_2D: expected a constant int32 bias, found .*\(t2\): float32"),
    ],
)
def test_tensor_that_int8_kernels_cannot_take_is_refused(
    tensor: int, changes: dict[str, Any], text: str
) -> None:
    network = QuantizedNetwork(7)
    network.convolution()
    network.classifier()
    vars(network.tensors[tensor]).update(changes)
    with pytest.raises(ModelError, match=text) as caught:
        convert(network.content())
    assert caught.value.hint == HINT


def test_unknown_operator_and_second_subgraph_are_refused() -> None:
    network = QuantizedNetwork(7)
    source = network.convolution()
    twice = parsed(network.content())
    twice.subgraphs *= 2
    with pytest.raises(ModelError, match="expected one subgraph, found 2"):
        convert(pack_model(twice))
    network.operator("TANH", [source], network.activation(source.shape, 1 / 128))
    with pytest.raises(ModelError, match="operator 1, TANH: expected one of ADD, .*found TANH"):
        convert(network.content())


def test_wrong_conversion_is_refused(resolved: Resolver, tmp_path: Path) -> None:
    networks = [QuantizedNetwork(seed, (1, 16, 16, 3)) for seed in (9, 10)]
    for network in networks:
        network.convolution(8)
        network.classifier(3)
    original, wrong = resolved(networks[0].content()), converted(networks[1])
    for content, text in (
        (wrong, r"disagrees on the picture .*expected class \d"),
        (wrong[: len(wrong) // 2], "the int8 model does not run"),
    ):
        (tmp_path / "int8.tflite").write_bytes(content)
        with pytest.raises(ModelError, match=text) as caught:
            check_agreement(original, tmp_path / "int8.tflite", SAMPLE)
        assert caught.value.hint == HINT


def test_build_converts_unless_told_otherwise(tmp_path: Path, console: Console) -> None:
    network = QuantizedNetwork(11, (1, 24, 24, 3))
    network.convolution(8)
    network.convolution(8)
    path, labels = tmp_path / "tiny.tflite", tmp_path / "labels.txt"
    path.write_bytes(network.classifier().content())
    labels.write_text("\n".join(f"class {number}" for number in range(10)))
    config = build.BuildConfig(
        (HERE,), tmp_path / "a.zip", str(path), ModelOptions(labels), provider=at_hand(), keep=False
    )
    model = build.build(config, console).model
    figures = model["requantized"]
    assert figures["channels"] == 17 and figures["agreement"]["pictures"] == 9
    assert model["source"].endswith(", converted to int8")
    model = build.build(replace(config, requantize=False, smoke=False), console).model
    assert model["requantized"] is None
