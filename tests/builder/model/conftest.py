"""What the tests of models share: a dense model with any head and tail, and a way to resolve it.

A head leads from the input to a picture of PICTURE's shape, a tail from the dense layer to the
output. Both are chains of steps, each of which adds operators.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder.artifact import actionloop
from builder.base.console import Console
from builder.model import run
from builder.model.normalization import Normalization
from builder.model.resolve import Model, ModelOptions, resolve_model
from tests.conftest import base64_of, interpreter
from tests.support.models import COLOURS, SIDE, Array, DenseModel, Graph, Value

ZERO_TO_ONE = Normalization((0.0,), (255.0,))
PICTURE = (1, SIDE, SIDE, 3)
Step = Callable[[Graph, Value], Value]
Head = Callable[[Graph], tuple[Value, Value]]


class Resolver:
    """Resolves models as m.tflite, with the labels red, green and blue in labels.txt."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.path, self.labels = folder / "m.tflite", folder / "labels.txt"
        self.labels.write_text("\n".join(COLOURS))
        self.console = console

    def __call__(
        self,
        model: bytes | DenseModel,
        normalization: Normalization | None = None,
        **options: Any,
    ) -> Model:
        if isinstance(model, bytes):
            self.path.write_bytes(model)
        else:
            model.write(self.path)
        chosen = ModelOptions(**{"labels": self.labels, "normalization": normalization, **options})
        return resolve_model(str(self.path), chosen, self.console)


@pytest.fixture
def resolved(tmp_path: Path, console: Console) -> Resolver:
    return Resolver(tmp_path, console)


def tar_of(name: str, content: bytes = b"content") -> bytes:
    """Return a tar archive of one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def dense(head: Head | None = None, tail: Step | None = None, outputs: int = 3) -> bytes:
    """Return a float32 model: `head`, means of the channels, a dense layer (4 x - 2), `tail`."""
    graph = Graph()
    source, x = (head or entering())(graph)
    x = graph.operator("MEAN", [x, graph.integers(1, 2)], (1, 3), version=2)
    weights = graph.constant((4 * np.eye(3, dtype=np.float32))[:outputs])
    bias = graph.constant(np.full(outputs, -2, np.float32))
    x = graph.operator("FULLY_CONNECTED", [x, weights, bias], (1, outputs))
    return graph.file([source], [tail(graph, x) if tail else x])


def entering(
    *steps: Step,
    shape: tuple[int, ...] = PICTURE,
    dtype: str = "float32",
    scale: float = 0.0,
    zero_point: int = 0,
) -> Head:
    """Return the head of an input that goes through some steps."""

    def head(graph: Graph) -> tuple[Value, Value]:
        source = graph.tensor(shape, dtype, scale, zero_point)
        return source, chain(*steps)(graph, source)

    return head


def chain(*steps: Step) -> Step:
    def apply_all(graph: Graph, x: Value) -> Value:
        for step in steps:
            x = step(graph, x)
        return x

    return apply_all


def unary(kind: str) -> Step:
    return lambda graph, x: graph.operator(kind, [x], x.shape)


softmax = unary("SOFTMAX")


def with_constant(kind: str, value: Any) -> Step:
    def step(graph: Graph, x: Value) -> Value:
        return graph.operator(kind, [x, graph.constant(np.array(value, np.float32))], x.shape)

    return step


def quantize(scale: float, zero_point: int) -> Step:
    """Quantize to int8, and keep it so."""

    def step(graph: Graph, x: Value) -> Value:
        return graph.operator("QUANTIZE", [x], graph.tensor(x.shape, "int8", scale, zero_point))

    return step


def reshape(*shape: int) -> Step:
    return lambda graph, x: graph.operator("RESHAPE", [x, graph.integers(*shape)], shape)


def expected(kind: str, logits: list[float]) -> Array:
    """Return the scores for the dense layer's logits: 2 for a channel of 255, -2 for one of 0."""
    values = np.array(logits, float)
    if kind == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-values)))
    return np.asarray(np.exp(values) / np.exp(values).sum())


def answers(model: Model) -> dict[str, Array]:
    """Run a model; return the scores for each generated picture, by its name."""
    [outputs] = run.run_model(model.path, [model.settings])
    return dict(zip(outputs.pictures, outputs.scores, strict=True))


def ask(archive: Path, pictures: Iterable[bytes | Path], classes: int) -> list[dict[str, float]]:
    """Return class -> probability for each picture, as a zip answers."""
    sent = {"images": [base64_of(picture) for picture in pictures], "topK": classes}
    with actionloop.start_action(archive, interpreter()) as running:
        found = [each["results"] for each in running.run(sent)["predictions"]]
    return [{each["className"]: each["probability"] for each in results} for results in found]
