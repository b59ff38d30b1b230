"""The TF.js peers: the converted model scores as in TFLite, and the action keeps answering."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from bench.peers import tfjs
from bench.peers.tfjs.graph_model import convert
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.resolve import ModelOptions, resolve_model
from builder.model.settings import ModelSettings
from builder.model.tflite import read_model
from tests.conftest import PLUS_MINUS_ONE, base64_of, encoded
from tests.support.models import ColourModel, QuantizedNetwork, Value, write_float_network

RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6
LABELS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class Wide(QuantizedNetwork):
    """A uint8 network whose outputs seldom reach the ends of their range, as float has none."""

    def activation(
        self, shape: tuple[int, ...], scale: float, zero_point: int | None = None
    ) -> Value:
        if zero_point is None:
            zero_point = 128
        return super().activation(shape, scale, zero_point)

    def bias(self, source: Value, weights: Value, size: int) -> Value:
        """Return a smaller bias, so that the picture decides."""
        made = super().bias(source, weights, size)
        buffer = self.buffers[self.tensors[made.number].buffer]
        buffer.data = (buffer.data.view("<i4") // 8).view(np.uint8)
        return made

    def rescale(self, scale: float) -> None:
        """Give the last output another scale, and its weights and bias the matching one."""
        ratio = np.float32(scale / self.tensors[self.last.number].quantization.scale[0])
        for number in (*self.operators[-1].inputs[1:], self.last.number):
            self.tensors[number].quantization.scale *= ratio
        self.last = replace(self.last, scale=scale)

    def write(self, path: Path) -> Path:
        """Write it, with ten classes and probabilities between 0 and 1 at its end."""
        self.dense(10)
        self.rescale(0.3)
        self.probabilities()
        path.write_bytes(self.content())
        return path


def mobile(path: Path) -> Path:
    """Write blocks of MobileNet v1, and its end."""
    network = Wide(5)
    network.convolution(8, stride=2, activation=RELU6)
    network.rescale(0.15)  # so that it has values above 6
    network.depthwise(multiplier=2)
    network.convolution(12, kernel=1, activation=RELU)
    network.squeeze()
    return network.write(path)


def residual(path: Path) -> Path:
    """Write a block with a shortcut; the sum's range starts at zero, which implies a ReLU."""
    network = Wide(5)
    first = network.convolution(6, kernel=5, same=False)
    second = network.depthwise()
    zero = network.activation(first.shape, first.scale + second.scale, 0)
    network.operator("ADD", [first, second], zero, schema.AddOptionsT())
    network.mean()
    return network.write(path)


def expected(path: Path, pixels: np.ndarray[Any, Any], settings: ModelSettings) -> Any:
    """Return the probabilities by TFLite's own interpreter."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    values = (pixels - np.array(settings.mean)) / np.array(settings.std)
    if source["dtype"] != np.float32:
        scale, zero_point = source["quantization"]
        values = np.rint(values / scale + zero_point).clip(0, 255)
    interpreter.set_tensor(source["index"], values[None].astype(source["dtype"]))
    interpreter.invoke()
    scores = interpreter.get_tensor(sink["index"]).ravel()
    if sink["dtype"] == np.float32:
        return scores
    scale, zero_point = sink["quantization"]
    return (scores.astype(np.float64) - zero_point) * scale


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("write", "tolerance"), [(write_float_network, 1e-5), (mobile, 0.035), (residual, 0.05)]
)
def test_converted_model_scores_as_in_tflite(
    write: Callable[[Path], Path], tolerance: float, tmp_path: Path, console: Console
) -> None:
    path = write(tmp_path / "network.tflite")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS))
    source = read_model(path).inputs[0]
    scaled = PLUS_MINUS_ONE if source.dtype == "float32" else None
    model = resolve_model(str(path), ModelOptions(labels, scaled), console)
    random = np.random.default_rng(7)
    best = set()
    with tfjs.build_peer(model, "wasm", console).launched() as action:
        for _ in range(12):
            patches = Image.fromarray(random.integers(0, 256, (2, 2, 3), np.uint8))
            picture = patches.resize((source.shape[2],) * 2, Image.Resampling.NEAREST)
            content = encoded(picture, "JPEG", quality=95, subsampling=0)
            pixels = np.asarray(Image.open(io.BytesIO(content)))
            scores = expected(path, pixels, model.settings)
            results = action.run({"image": base64_of(content)})["results"]
            for each in results:
                score = scores[each["classIndex"]]
                assert each["probability"] == pytest.approx(score, abs=tolerance)
                assert each["className"] == LABELS[each["classIndex"]]
            best.add(results[0]["probability"])
    assert len(best) == 12  # the answer depends on the picture


def test_unknown_operator_is_refused(tmp_path: Path) -> None:
    path = ColourModel(operator="MAX_POOL_2D").write(tmp_path / "colours.tflite")
    with pytest.raises(ModelError, match=r"operator 0, MAX_POOL_2D: expected one of ADD, .*CONV"):
        convert(path, softmax=False)


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["wasm", "cpu"])
def test_action_answers_after_broken_pictures(
    backend: Any, imagenet_model: str, console: Console
) -> None:
    model = resolve_model(imagenet_model, ModelOptions(), console)
    peer = tfjs.build_peer(model, backend, console)
    assert peer.info.is_image
    assert peer.info.versions.keys() > {"node", f"@tensorflow/tfjs-backend-{backend}"}
    sample = {"image": base64_of(SAMPLE)}
    with peer.launched() as action:
        first = action.run(sample)
        assert first["results"][0]["className"] == "espresso"
        assert first["results"][0]["probability"] > 0.5
        png = base64_of(encoded(Image.new("RGB", (8, 8)), "PNG"))
        for image in ("?!", "", png, None):
            assert "JPEG" in action.run({"image": image})["error"]
        assert action.run(None)["error"]
        assert action.send(b"{")["error"]
        broken = {"image": base64_of(SAMPLE.read_bytes()[:100])}
        for _ in range(3):
            assert "cannot be decoded" in action.run(broken)["error"]
        assert action.run(sample) == first


@pytest.mark.parametrize("backend", tfjs.NAMES)
def test_lock_file_has_versions_and_hashes(backend: str) -> None:
    text = (tfjs.HERE / backend / "package-lock.json").read_text()
    assert "resolved" not in text
    packages = json.loads(text)["packages"]
    wanted = json.loads((tfjs.HERE / backend / "package.json").read_text())["dependencies"]
    assert packages.pop("")["dependencies"] == wanted
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for each in packages.values():
        assert each["integrity"].startswith("sha512-")
