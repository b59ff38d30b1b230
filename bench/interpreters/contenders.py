"""Who is compared inference by inference, and with which types of activations and weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers import OURS, PYTHON, Peer, pip
from bench.peers import network as model_in
from bench.results import Run
from builder.console import Console
from builder.errors import BuildError
from builder.model import Model
from builder.runtime import DEFAULT
from builder.runtime.providers import PROVIDERS

INT8, UINT8, MIXED = "s8 x s8", "u8 x u8", "u8 x s8"
"""Activations by weights: signed or unsigned bytes."""


@dataclass(frozen=True)
class Contender:
    """An interpreter with a network.

    Attributes:
        interpreter: its name and version.
        network: types of activations and weights.
        packages: folder with the interpreter and numpy.
        model: a .tflite or an .onnx.
        kernels, forced: as in `results.Inference`.
    """

    interpreter: str
    network: str
    packages: Path
    model: Path
    kernels: str = ""
    forced: str = ""

    @property
    def title(self) -> str:
        """For progress and errors."""
        kernels = f"{self.kernels} kernels" if self.kernels else ""
        return ", ".join(filter(None, [self.interpreter, self.network, kernels, self.forced]))


def contenders(
    chosen: Model, ours: Peer, peers: Sequence[Peer], provider: str, console: Console, run: Run
) -> Iterator[Contender]:
    """Ours first, then those of the peers that could be made.

    Args:
        chosen: the model, as it was found.
        ours: our zip: what it ships is that model, or an int8 one made of it.
        peers: among them the zips that pip made.
        provider: where our native parts come from.
        console: shows what is fetched and compiled.
        run: its `problems` get what could not be made.
    """
    shipped = model_in(ours.archive, ours.unpacked())
    converted = shipped.read_bytes() != chosen.path.read_bytes()
    networks = {INT8: shipped, UINT8: chosen.path} if converted else {"as it is": shipped}
    packages = PROVIDERS[provider](PYTHON, DEFAULT, console)
    known = (pip.TFLITE_RUNTIME, pip.AI_EDGE_LITERT)
    [part] = [part for part in packages.parts if part.name in known]
    for network, model in networks.items():
        yield Contender(f"{OURS}: {part.name} {part.version}", network, packages.folder, model)
    made = {peer.name: peer for peer in peers}
    for package in known:
        if peer := made.get(pip.named(package)):
            name = f"{peer.name} {peer.versions[package]}"
            for network, model in networks.items():
                yield Contender(name, network, peer.unpacked(), model)
    if peer := made.get(pip.named(pip.ONNXRUNTIME)):
        name = f"{peer.name} {peer.versions[pip.ONNXRUNTIME]}"
        try:
            unsigned = pip.onnx_unsigned(chosen, console)
        except BuildError as error:
            run.problems[f"inference, {name}"] = str(error)
            return
        yield Contender(name, MIXED, peer.unpacked(), unsigned.mixed)
        yield Contender(name, UINT8, peer.unpacked(), unsigned.both)
