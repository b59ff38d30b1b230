"""The int8 conversion: exact channels stay exact, rescaled ones err by half a step at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
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
from builder.model import resolve
from builder.model.agreement import check_agreement
from builder.model.int8 import HINT, Int8Model, convert_to_int8
from builder.model.resolve import ModelOptions
from builder.model.settings import ModelSettings
from builder.model.tflite import OPERATORS, parse_model
from tests.conftest import HERE, MOBILENET, at_hand
from tests.support.models import ACTIVATIONS, Array, ColourModel, QuantizedNetwork, Value

WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": None}


def parsed(content: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(content)


def kinds(content: bytes) -> list[str]:
    found = parsed(content)
    codes = [OPERATORS[code.builtinCode] for code in found.operatorCodes]
    return [codes[operator.opcodeIndex] for operator in found.subgraphs[0].operators]


def convert(content: bytes) -> Int8Model | None:
    return convert_to_int8(parse_model(content, "m.tflite"))


def converted(network: QuantizedNetwork) -> bytes:
    found = convert(network.content())
    assert found is not None
    return found.content


def constant(found: Any, number: int) -> Array:
    """Return the content of a constant, in its own type and shape."""
    tensor = found.subgraphs[0].tensors[number]
    dtype = {schema.TensorType.UINT8: "u1", schema.TensorType.INT8: "i1"}.get(tensor.type, "<i4")
    data: Array = found.buffers[tensor.buffer].data.view(dtype).reshape(tensor.shape)
    return data


def values(content: bytes, picture: Array) -> dict[int, Array]:
    """Run a model with reference kernels; return number -> q - z of every computed tensor."""
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


def bound(found: Any, operator: Any, kind: str, x: dict[int, Array], apart: Array) -> Array | float:
    """Return how far one operator's output may move, in steps, given how far its inputs did.

    Rounding two numbers that are d apart gives results at most d + 1 apart, and kernels may round
    ties each their way: that is the 1 below. In front of it stands what comes in, `apart` per
    input, times the operator's gain; for weights with the multiplier m = input scale * weight scale
    / output scale, at most m * sum |w| per channel. A rescaled channel, with a largest weight of
    p > 127 steps, errs by up to half a new step, p / 127 / 2, in each weight and the bias.
    """
    tensors = found.subgraphs[0].tensors
    inputs, output = operator.inputs, operator.outputs[0]
    scales = [float(tensors[i].quantization.scale[0]) for i in inputs if tensors[i].quantization]
    gain = scales[0] / float(tensors[output].quantization.scale[0])
    if kind in WEIGHTED:
        axis = WEIGHTED[kind]
        centred = constant(found, inputs[1]).astype(int) - tensors[inputs[1]].quantization.zeroPoint
        rows = np.moveaxis(centred, axis or 0, 0).reshape(centred.shape[axis or 0], -1)
        peaks = abs(rows).max(1) if axis is not None else abs(rows).max()
        half = np.where(peaks > 127, peaks / 127 / 2, 0.0)
        errors = half * (rows.shape[1] * abs(x[inputs[0]]).max() + 1)
        sums: Array = gain * scales[1] * (abs(rows).sum(1) * apart[0] + errors) + 1
        return sums
    if kind in ("RESHAPE", "SQUEEZE", "PAD", "PADV2", "MAX_POOL_2D"):
        return float(apart[0])
    if kind == "SOFTMAX":  # the slope of p is p (1 - p) <= 1/4 in the distance of two logits
        gain /= 2
    if kind == "MUL":
        large = [abs(x[i]).max() for i in inputs]
        product = apart[0] * large[1] + apart[1] * large[0] + apart[0] * apart[1]
        return float(gain * scales[1] * product + 1)
    steps = float(tensors[output].quantization.scale[0])
    gains = [scale / steps for scale in scales] if kind in ("ADD", "SUB", "CONCATENATION") else gain
    moved = apart[: np.size(gains)] * gains
    return float(moved.max() + 2 if kind == "CONCATENATION" else moved.sum() + 1)


def check_all_layers(content: bytes, result: bytes, picture: Array, exact: bool) -> None:
    """Hold every tensor to its bound.

    With exact weights the reference kernels give the same bits, but where int8 rounds otherwise:
    halves in average pools, and inputs of a concatenation that are requantized. (Multipliers
    may differ by 1e-7, as one is a product in float32: one element per layer is forgiven.)
    """
    found = parsed(content)
    before, after = values(content, picture), values(result, picture)
    for operator, kind in zip(found.subgraphs[0].operators, kinds(content), strict=True):
        apart = np.array([abs(before[i] - after[i]).max() for i in operator.inputs if i in before])
        output = operator.outputs[0]
        moved = abs(before[output] - after[output])
        limit = bound(found, operator, kind, before, apart)
        assert (moved <= limit).all(), (kind, moved.max(), limit)
        if exact and not apart.any() and kind not in ("AVERAGE_POOL_2D", "CONCATENATION"):
            assert (moved > 0).sum() <= 1, kind


def grow(network: QuantizedNetwork, draw: Callable[..., Any], wide: float) -> None:
    """Append one random layer."""
    other: Value = network.last
    height, width = network.last.shape[1:3]
    kind = draw(
        st.sampled_from(
            ["conv", "depthwise", "AVERAGE_POOL_2D", "MAX_POOL_2D", "ADD", "SUB", "MUL"]
            + ["RELU", "RELU6", "concat", "pad", "residual"]
        )
    )
    if kind in ("conv", "depthwise"):
        kernel = draw(st.sampled_from([1, 3] if min(height, width) > 2 else [1]))
        shape = {
            "kernel": kernel,
            "stride": draw(st.sampled_from([1, 2])),
            "same": draw(st.booleans()),
            "activation": draw(st.sampled_from(ACTIVATIONS)),
            "wide": wide,
        }
        if kind == "conv":
            network.convolution(draw(st.integers(1, 6)), **shape)
        else:
            network.depthwise(draw(st.sampled_from([1, 2])), **shape)
    elif kind.endswith("POOL_2D"):
        network.pool(kind)
    elif kind in ("ADD", "SUB", "MUL"):
        network.combine(kind)
    elif kind == "pad":
        network.pad(draw(st.sampled_from([None, 0, 77])))
    elif kind.startswith("RELU"):
        network.relu(kind)
    else:
        network.convolution(other.shape[3], 3, wide=wide)
        network.concatenation(other) if kind == "concat" else network.combine("ADD", other)


@st.composite
def networks(draw: Callable[..., Any], wide: float) -> QuantizedNetwork:
    network = QuantizedNetwork(draw(st.integers(0, 2**32 - 1)))
    network.convolution(4, wide=wide)
    for _ in range(draw(st.integers(0, 4))):
        grow(network, draw, wide)
    draw(st.sampled_from([network.mean, network.reshape, network.squeeze]))()
    network.dense(5, wide)
    network.probabilities(draw(st.sampled_from(["SOFTMAX", "LOGISTIC"])))
    return network


@given(networks(wide=0.5))
@settings(max_examples=150, deadline=None)
def test_layers_move_by_rounding_only(network: QuantizedNetwork) -> None:
    picture = network.random.integers(0, 256, network.source.shape, np.uint8)
    check_all_layers(network.content(), converted(network), picture, exact=False)


@given(networks(wide=0.0))
@settings(max_examples=75, deadline=None)
def test_exact_channels_stay_exact(network: QuantizedNetwork) -> None:
    found = convert(network.content())
    assert found is not None and found.rescaled == 0 and found.error == 0
    picture = network.random.integers(0, 256, network.source.shape, np.uint8)
    check_all_layers(network.content(), found.content, picture, exact=True)


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


def test_model_without_uint8_weights_stays(tmp_path: Path, console: Console) -> None:
    path = resolve.resolve_model("efficientnet_lite0", ModelOptions(), console).path
    assert convert(path.read_bytes()) is None
    for dtype in ("float32", "int8", "uint8"):
        content = ColourModel(dtype, softmax=True).write(tmp_path / "m.tflite").read_bytes()
        assert convert(content) is None


def test_shared_weights_and_biases_are_converted_per_role() -> None:
    """Operators with other input scales share them, an addition, and a tensor on their buffer."""
    network = QuantizedNetwork(3, (1, 6, 6, 4))
    network.depthwise(kernel=1, wide=1.0)
    number, bias = (int(i) for i in network.operators[0].inputs[1:])
    about = network.tensors[number].quantization
    shared = Value(number, (1, 1, 1, 4), float(about.scale[0]), int(about.zeroPoint[0]))
    network.depthwise(kernel=1, weights=shared)
    network.operators[1].inputs[2] = bias
    network.combine("ADD", shared)
    twin = network.tensor(shared.shape, "uint8", 0.01, 7)
    network.tensors[twin.number].buffer = network.tensors[number].buffer
    network.combine("ADD", twin)
    content = network.classifier().content()
    result = converted(network)
    old, new = parsed(content), parsed(result)
    first, second, third, fourth, *_ = new.subgraphs[0].operators
    assert first.inputs[1] == second.inputs[1] != third.inputs[1]
    assert first.inputs[2] != second.inputs[2]
    for operator in (third, fourth):
        flipped = constant(new, operator.inputs[1]).view(np.uint8) ^ 0x80
        assert (flipped == constant(old, number)).all()
    picture = network.random.integers(0, 256, network.source.shape, np.uint8)
    check_all_layers(content, result, picture, exact=False)


def test_float_inputs_and_outputs_stay() -> None:
    network = QuantizedNetwork(6)
    network.convolution()
    network.classifier()
    source, sink = network.source, network.last
    network.source = network.tensor(source.shape, "float32")
    network.operator("QUANTIZE", [network.source], source, schema.QuantizeOptionsT())
    network.operators.insert(0, network.operators.pop())
    output = network.tensor(sink.shape, "float32")
    network.operator("DEQUANTIZE", [sink], output, schema.DequantizeOptionsT())
    picture = network.random.uniform(-1, 1, source.shape).astype(np.float32)
    answers = []
    for content in (network.content(), converted(network)):
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert answers[0].dtype == np.float32 and abs(answers[0] - answers[1]).max() <= 0.05


def tensor_of(network: QuantizedNetwork, position: int) -> Any:
    """Return an input of the convolution, or its output in position 3."""
    operator = network.operators[0]
    return network.tensors[[*operator.inputs, *operator.outputs][position]]


def compute_weights(network: QuantizedNetwork) -> None:
    tensor_of(network, 1).buffer = 0


def take_float_input(network: QuantizedNetwork) -> None:
    tensor_of(network, 0).type = schema.TensorType.FLOAT32
    tensor_of(network, 0).quantization = None


def scale_per_channel(network: QuantizedNetwork) -> None:
    quantization = tensor_of(network, 1).quantization
    quantization.scale = np.full(4, 0.1, np.float32)
    quantization.zeroPoint = np.full(4, 3, np.int64)


def take_float_bias(network: QuantizedNetwork) -> None:
    tensor_of(network, 2).type = schema.TensorType.FLOAT32


def add_tanh(network: QuantizedNetwork) -> None:
    network.operator("TANH", [network.last], network.activation(network.last.shape, 1 / 128))


def rescale_softmax(network: QuantizedNetwork) -> None:
    network.tensors[network.last.number].quantization.scale[0] = 1 / 255


def rescale_pool(network: QuantizedNetwork) -> None:
    output = network.activation((1, 4, 4, 3), 1 / 64, 5)
    options = schema.Pool2DOptionsT(strideW=2, strideH=2, filterWidth=2, filterHeight=2)
    network.operator("MAX_POOL_2D", [network.source], output, options)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (compute_weights, r"operator 0, CONV_2D: expected constant weights, found .*\(t1\): uint8"),
        (take_float_input, r"CONV_2D: expected a dense uint8 tensor .*tensor 0 \(t0\): float32"),
        (scale_per_channel, r"CONV_2D: expected .* one scale and .*\(t1\): uint8, scale of 4 val"),
        (take_float_bias, r"CONV_2D: expected a constant int32 bias, found .*\(t3\): float32"),
        (add_tanh, "operator 4, TANH: expected one of ADD, AVERAGE_POOL_2D, .*found TANH"),
        (rescale_softmax, "SOFTMAX: .* scale 1/256 and zero point 0, found .*scale 0.00392157"),
        (rescale_pool, r"MAX_POOL_2D: expected the quantization of tensor .* tensor 0 \(t0\)"),
    ],
)
def test_what_int8_kernels_cannot_compute_is_refused(
    spoil: Callable[[QuantizedNetwork], None], text: str
) -> None:
    network = QuantizedNetwork(7)
    network.convolution()
    network.classifier()
    spoil(network)
    with pytest.raises(ModelError, match=text) as caught:
        convert(network.content())
    assert caught.value.hint == HINT


def test_damaged_graphs_are_refused() -> None:
    network = QuantizedNetwork(8)
    network.convolution()
    content = network.classifier().content()
    network.operators[1].inputs[0] = 99
    with pytest.raises(ModelError, match="broken TFLite model"):
        convert(network.content())
    twice = parsed(content)
    twice.subgraphs *= 2
    builder = flatbuffers.Builder(1024)
    builder.Finish(twice.Pack(builder), b"TFL3")
    with pytest.raises(ModelError, match="expected one subgraph, found 2"):
        convert(bytes(builder.Output()))


def test_mobilenet_is_converted(tmp_path: Path, console: Console) -> None:
    if not MOBILENET.exists():
        pytest.skip("no MobileNet v1 beside the checkout")
    found = convert(MOBILENET.read_bytes())
    assert found is not None
    assert (found.channels, found.rescaled) == (11945, 68)
    assert 0.5 < found.error <= 1
    (tmp_path / "m.tflite").write_bytes(found.content)
    source = parse_model(found.content, "m.tflite").inputs[0]
    assert (source.dtype, source.zero_point) == ("int8", 0)
    about = resolve.resolve_model(str(MOBILENET), ModelOptions(), console).settings
    steps = (np.arange(256) - about.mean[0]) / about.std[0] / source.scale
    assert (np.rint(steps) + source.zero_point == np.arange(-128, 128)).all()
    agreed = check_agreement(MOBILENET, tmp_path / "m.tflite", about, 1 / 256, SAMPLE)
    assert agreed.probability <= 0.06 and agreed.steps <= 0.1


def test_wrong_conversion_is_refused(tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(10))
    mean = std = (128.0,)
    about = ModelSettings("m", "", 0.875, (16, 16, 3), "nhwc", mean, std, "", names)
    networks = [QuantizedNetwork(seed, (1, 16, 16, 3)) for seed in (9, 10)]
    for network in networks:
        network.convolution(8)
        network.classifier()
    original, int8 = tmp_path / "original.tflite", tmp_path / "int8.tflite"
    original.write_bytes(networks[0].content())
    wrong = converted(networks[1])
    for content, text in (
        (wrong, r"disagrees on the picture .*expected class \d"),
        (wrong[: len(wrong) // 2], "the int8 model does not run"),
    ):
        int8.write_bytes(content)
        with pytest.raises(ModelError, match=text) as caught:
            check_agreement(original, int8, about, 1 / 256, SAMPLE)
        assert caught.value.hint == HINT


def test_build_converts_unless_told_otherwise(tmp_path: Path, console: Console) -> None:
    network = QuantizedNetwork(11, (1, 24, 24, 3))
    network.convolution(8, wide=0.0)
    network.convolution(8, wide=0.2)
    path, labels = tmp_path / "tiny.tflite", tmp_path / "labels.txt"
    path.write_bytes(network.classifier(wide=0.0).content())
    labels.write_text("\n".join(f"class {number}" for number in range(10)))
    config = build.BuildConfig(
        (HERE,), tmp_path / "a.zip", str(path), ModelOptions(labels), provider=at_hand(), keep=False
    )
    converted = build.build(config, console)
    figures = converted.model["requantized"]
    assert figures["channels"] == 17 and figures["agreement"]["pictures"] == 9
    assert converted.model["source"].endswith(", converted to int8")
    original = build.build(replace(config, requantize=False), console)
    assert original.model["requantized"] is None
    [before], [after] = original.smoke.values(), converted.smoke.values()
    assert after.results[0]["probability"] == pytest.approx(
        before.results[0]["probability"], abs=0.1
    )
