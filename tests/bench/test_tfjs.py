"""The TF.js peers: the converted model scores as in TFLite."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.peers import tfjs
from bench.peers.tfjs.graph_model import GraphModelConverter
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.resolve import ModelOptions, resolve_model
from builder.model.run import run_model
from tests.conftest import PLUS_MINUS_ONE, base64_of, encoded
from tests.support.models import DenseModel, write_float_network


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
    pictures = [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
    named = {str(number): pixels for number, pixels in enumerate(pictures)}
    [expected] = run_model(model.path, [model.settings], pictures=named)
    with tfjs.build_peer(model).launched() as action:
        for content, scores in zip(contents, expected.scores, strict=True):
            for each in action.run({"image": base64_of(content)})["results"]:
                score = scores[each["classIndex"]]
                assert each["probability"] == pytest.approx(score, abs=1e-5)
                assert each["className"] == str(each["classIndex"])


def test_unknown_operator_is_refused(tmp_path: Path) -> None:
    path = DenseModel(head="decomposed").write(tmp_path / "m.tflite")
    with pytest.raises(ModelError, match=r"operator 2, EXP: expected one of ADD, .*CONV"):
        GraphModelConverter(path).convert(softmax=False)
