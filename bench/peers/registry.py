"""Who is compared, in the order of the tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.peers import pip, tfjs
from bench.peers.peer import OURS, PRECOMPILED, Peer, ours
from builder.base.console import Console
from builder.model.int8 import convert_to_int8
from builder.model.resolve import Model


def makers(
    chosen: Model, console: Console, labels: Path | None, provider: str, variants: bool
) -> dict[str, Callable[[], Peer]]:
    """Name -> what makes the peer of that name, which takes a while; raises BuildError.

    Args:
        chosen: the model, the same for all.
        console: shows what is fetched and built.
        labels: file with class names, where the model needs one.
        provider: where our native parts come from.
        variants: whether to make our zip with other options, too.
    """
    this_zip = partial(ours, chosen, console, labels=labels, provider=provider)
    zips: dict[str, Callable[[], Peer]] = {
        OURS: this_zip,
        PRECOMPILED: partial(this_zip, precompiled=True),
    }
    if variants and convert_to_int8(chosen.tflite):
        zips[f"{OURS}, uint8"] = partial(this_zip, requantize=False)
    return zips | {
        pip.named(pip.TFLITE_RUNTIME): partial(pip.tflite_runtime, chosen, console),
        pip.named(pip.AI_EDGE_LITERT): partial(pip.ai_edge_litert, chosen, console),
        pip.named(pip.ONNXRUNTIME): partial(pip.onnxruntime, chosen, console),
        tfjs.NAMES["wasm"]: partial(tfjs.peer, chosen, "wasm", console),
        tfjs.NAMES["cpu"]: partial(tfjs.peer, chosen, "cpu", console),
    }
