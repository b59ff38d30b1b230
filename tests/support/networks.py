"""A small float32 convolutional classifier with random weights, as a converter would write it.

CONV_2D, DEPTHWISE_CONV_2D, CONV_2D (1x1), AVERAGE_POOL_2D, RESHAPE, FULLY_CONNECTED, SOFTMAX: the
operators of MobileNet, at a size that is written in a moment.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.graphs import SAME, VALID, Graph, Value

SIDE, CLASSES = 32, 10


def write(path: Path) -> Path:
    """Write the network to `path`: input [1, 32, 32, 3] in -1..1, output [1, 10]."""
    graph = Graph()
    random = np.random.default_rng(2018)
    relu6 = schema.ActivationFunctionType.RELU6

    def activation(*shape: int) -> Value:
        return graph.tensor(shape, "float32")

    def weights(*shape: int) -> Value:
        spread = (2 / np.prod(shape[1:])) ** 0.5
        return graph.constant(random.normal(0, spread, shape).astype(np.float32))

    def bias(size: int) -> Value:
        return graph.constant(random.uniform(-0.2, 0.2, size).astype(np.float32))

    def convolution(stride: int) -> schema.Conv2DOptionsT:
        return schema.Conv2DOptionsT(
            padding=SAME, strideW=stride, strideH=stride, fusedActivationFunction=relu6
        )

    depthwise = schema.DepthwiseConv2DOptionsT(
        padding=SAME, strideW=1, strideH=1, depthMultiplier=1, fusedActivationFunction=relu6
    )
    pool = schema.Pool2DOptionsT(
        padding=VALID, strideW=16, strideH=16, filterWidth=16, filterHeight=16
    )
    x = picture = activation(1, SIDE, SIDE, 3)
    for kind, options, kernel, channels, shape in (
        ("CONV_2D", convolution(2), (16, 3, 3, 3), 16, (1, 16, 16, 16)),
        ("DEPTHWISE_CONV_2D", depthwise, (1, 3, 3, 16), 16, (1, 16, 16, 16)),
        ("CONV_2D", convolution(1), (32, 1, 1, 16), 32, (1, 16, 16, 32)),
    ):
        x = graph.operator(kind, [x, weights(*kernel), bias(channels)], activation(*shape), options)
    x = graph.operator("AVERAGE_POOL_2D", [x], activation(1, 1, 1, 32), pool)
    flat = graph.integers(1, 32)
    x = graph.operator("RESHAPE", [x, flat], activation(1, 32), schema.ReshapeOptionsT())
    x = graph.operator(
        "FULLY_CONNECTED",
        [x, weights(CLASSES, 32), bias(CLASSES)],
        activation(1, CLASSES),
        schema.FullyConnectedOptionsT(),
    )
    x = graph.operator("SOFTMAX", [x], activation(1, CLASSES), schema.SoftmaxOptionsT(beta=1.0))
    path.write_bytes(graph.file([picture], [x]))
    return path
