"""The pip zips as peers: they answer rightly and hold what is pinned; making them takes long."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.peers import pip
from bench.peers.peer import PYTHON, Peer
from builder.artifact.smoke import SAMPLE
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.resolve import ModelOptions, resolve_model
from tests.conftest import PLUS_MINUS_ONE, base64_of, interpreter
from tests.support.models import ColourModel


@pytest.fixture(scope="module")
def peers(imagenet_model: str, console: Console) -> dict[str, Peer]:
    interpreter(PYTHON)
    model = resolve_model(imagenet_model, ModelOptions(), console)
    return {package: pip.build_peer(package, model) for package in pip.NAMES}


@pytest.mark.thorough
def test_peers_agree_on_the_sample(peers: dict[str, Peer]) -> None:
    """Kernels round differently, up to 3 of the output's steps of 1/256: twice as many pass."""
    probabilities = []
    for peer in peers.values():
        with peer.launched() as action:
            results = action.run({"image": base64_of(SAMPLE)})["results"]
        assert results[0]["className"] == "espresso"
        assert len(results) == 3
        assert results[0]["probability"] > results[1]["probability"] >= results[2]["probability"]
        probabilities.append(results[0]["probability"])
    assert 0.85 < max(probabilities) <= min(probabilities) + 6 / 256


@pytest.mark.parametrize("package", pip.NAMES)
def test_float_model_is_refused(
    package: str, tmp_path: Path, colour_labels: Path, console: Console
) -> None:
    path = ColourModel(dtype="float32").write(tmp_path / "colours.tflite")
    model = resolve_model(str(path), ModelOptions(colour_labels, PLUS_MINUS_ONE), console)
    with pytest.raises(ModelError, match=r"expected quantized tensors .* found .*float32"):
        pip.build_peer(package, model)
