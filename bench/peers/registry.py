"""The peers by name, in the order of the tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.peers import pip, tfjs
from bench.peers.ours import OURS, PRECOMPILED, UINT8, WHEELS, build_ours
from bench.peers.peer import Peer
from builder.base.console import Console
from builder.model.int8 import convert_to_int8
from builder.model.resolve import Model


def peer_makers(
    model: Model, console: Console, labels: Path | None, provider: str, variants: bool
) -> dict[str, Callable[[], Peer]]:
    """Return by name the functions that make the peers; making one takes a while.

    `variants` adds our zip with unusual options; the other arguments are as in `build_ours`.
    """
    names = [OURS, PRECOMPILED, WHEELS]
    if variants and convert_to_int8(model.tflite):
        names.append(UINT8)
    return {
        **{name: partial(build_ours, name, model, console, labels, provider) for name in names},
        **{
            pip.peer_name(package): partial(pip.build_peer, package, model, console)
            for package in (pip.TFLITE_RUNTIME, pip.AI_EDGE_LITERT, pip.ONNXRUNTIME)
        },
        tfjs.NAMES["wasm"]: partial(tfjs.build_peer, model, "wasm", console),
        tfjs.NAMES["cpu"]: partial(tfjs.build_peer, model, "cpu", console),
    }
