"""Small real classifiers: which colour has the picture?

A model takes the mean of each channel over the picture (one MEAN operator), so that its classes
are the channels: red, green, blue. In front or behind may stand what a test asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from tests.support.graphs import Graph, Value

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Colours:
    """What to build.

    Attributes:
        dtype: of input and output; quantized ones have a scale of 1/255.
        size: side of the input, in pixels.
        channels: of the input, and so the number of classes.
        softmax: whether a SOFTMAX follows the mean.
        outputs: how often the output is listed.
        batch: size of the first dimension.
        custom: name of a custom operator in place of MEAN.
        operator: another builtin operator in place of MEAN, for its name only.
        keep_dims: whether the output is [1, 1, 1, channels].
    """

    dtype: str = "float32"
    size: int = 8
    channels: int = 3
    softmax: bool = False
    outputs: int = 1
    batch: int = 1
    custom: str = ""
    operator: str = "MEAN"
    keep_dims: bool = False

    def write(self, path: Path) -> Path:
        """Write the model to `path`."""
        path.write_bytes(_build(self))
        return path

    def but(self, **changes: object) -> Colours:
        """The same with some attributes changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


_ZERO_POINTS = {"uint8": 0, "int8": -128}


def _build(want: Colours) -> bytes:
    graph = Graph()
    quantized = want.dtype in _ZERO_POINTS
    zero_point = _ZERO_POINTS.get(want.dtype, 0)

    def tensor(name: str, shape: tuple[int, ...], step: int) -> Value:
        scale = 1 / step if quantized else 0.0
        return graph.tensor(shape, want.dtype, scale, zero_point, name=name)

    picture = tensor("picture", (want.batch, want.size, want.size, want.channels), 255)
    shape = (want.batch, *((1, 1) if want.keep_dims else ()), want.channels)
    scores = graph.operator(
        "CUSTOM" if want.custom else want.operator,
        [picture, graph.integers(1, 2)],
        tensor("scores", shape, 255),
        schema.ReducerOptionsT(keepDims=want.keep_dims),
        version=2,
        custom=want.custom,
    )
    if want.softmax:
        output = tensor("probabilities", shape, 256)
        scores = graph.operator(
            "SOFTMAX", [scores], output, schema.SoftmaxOptionsT(beta=1.0), version=2
        )
    return graph.file([picture], [scores] * want.outputs)
