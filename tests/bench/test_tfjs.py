"""The TF.js peers: the converted model scores as in TFLite."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.peers import tfjs
from bench.peers.tfjs.graph_model import GraphModelConverter
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.resolve import Model, ModelOptions, resolve_model
from builder.model.run import run_model
from tests.conftest import PLUS_MINUS_ONE, base64_of, encoded
from tests.support.models import DenseModel, write_float_network


def tflite_scores(model: Model, contents: Sequence[bytes]) -> Any:
    """Return the scores that the function gives for JPEGs of the model's size, one row each."""
    pictures = [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
    named = {str(number): pixels for number, pixels in enumerate(pictures)}
    [outputs] = run_model(model.path, [model.settings], pictures=named)
    return outputs.scores


@pytest.mark.thorough
def test_converted_model_scores_as_in_tflite(tmp_path: Path, console: Console) -> None:
    path = write_float_network(tmp_path / "network.tflite")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(map(str, range(10))))
    model = resolve_model(str(path), ModelOptions(labels, PLUS_MINUS_ONE), console)
    random = np.random.default_rng(7)
    patches = [Image.fromarray(random.integers(0, 256, (2, 2, 3), np.uint8)) for _ in range(12)]
    contents = [
        encoded(each.resize((32, 32)), "JPEG", quality=95, subsampling=0) for each in patches
    ]
    expected = tflite_scores(model, contents)
    with tfjs.build_peer(model).launched() as action:
        for content, scores in zip(contents, expected, strict=True):
            for each in action.run({"image": base64_of(content)})["results"]:
                score = scores[each["classIndex"]]
                assert each["probability"] == pytest.approx(score, abs=1e-5)
                assert each["className"] == str(each["classIndex"])


def test_unknown_operator_is_refused(tmp_path: Path) -> None:
    path = DenseModel(head="decomposed").write(tmp_path / "m.tflite")
    with pytest.raises(ModelError, match=r"operator 2, EXP: expected one of ADD, .*CONV"):
        GraphModelConverter(path).convert(softmax=False)


@pytest.mark.thorough
def test_action_answers_as_in_tflite(imagenet_model: str, console: Console) -> None:
    model = resolve_model(imagenet_model, ModelOptions(), console)
    peer = tfjs.build_peer(model)
    assert peer.info.is_image
    assert peer.info.versions.keys() > {"node", "@tensorflow/tfjs-backend-wasm"}
    with peer.launched() as action:
        width, height = model.tflite.inputs[0].shape[1:3]
        small = Image.open(SAMPLE).convert("RGB").resize((width, height))
        content = encoded(small, "JPEG", subsampling=0)
        [scores] = tflite_scores(model, [content])
        for each in action.run({"image": base64_of(content)})["results"]:
            assert each["probability"] == pytest.approx(scores[each["classIndex"]], abs=0.05)
        first = action.run({"image": base64_of(SAMPLE)})
        assert first["results"][0]["className"] == "espresso"
        assert first["results"][0]["probability"] > 0.5
