"""Who is compared inference by inference, and with which types of activations and weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import CLASSES
from bench.peers import OURS, PYTHON, Peer, pip
from bench.results import OUR, XNNPACK, Run
from builder import runtime
from builder.console import Console
from builder.errors import BuildError
from builder.model import Model

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


@dataclass(frozen=True)
class Build:
    """A build of our interpreter that is made to be compared, and that no user gets.

    Attributes:
        kernels: whose it has: OUR or XNNPACK.
        forced: slug of the class of CPU that it takes this one for; empty if it looks itself.
        packages: folder with tflite_runtime and numpy, as a runtime has them.
    """

    kernels: str
    forced: str
    packages: Path

    @classmethod
    def parsed(cls, text: str) -> Build:
        """From KERNELS[:CLASS]=DIR of the command line; raises ValueError."""
        what, _, folder = text.partition("=")
        kernels, _, forced = what.partition(":")
        known = {"our": OUR, "xnnpack": XNNPACK}
        slugs = [each.slug for each in CLASSES]
        if kernels not in known or (forced and forced not in slugs):
            raise ValueError(
                f"expected {' or '.join(known)}, then perhaps a colon and one of "
                f"{', '.join(slugs)}, then =DIR; found {text}"
            )
        if not (Path(folder) / "tflite_runtime").is_dir():
            raise ValueError(f"expected a folder with tflite_runtime, found {folder or 'none'}")
        return cls(known[kernels], forced, Path(folder).resolve())


def contenders(
    chosen: Model,
    ours: Peer,
    peers: Sequence[Peer],
    builds: Sequence[Build],
    provider: str,
    console: Console,
    run: Run,
) -> Iterator[Contender]:
    """Ours first, then those of the peers that could be made.

    Args:
        chosen: the model, as it was found.
        ours: our zip: what it ships is that model, or an int8 one made of it.
        peers: among them the zips that pip made.
        builds: further builds of our interpreter.
        provider: where our native parts come from.
        console: shows what is fetched and compiled.
        run: its `problems` get what could not be made.
    """
    [shipped] = ours.unpacked().glob("model/*.tflite")
    converted = shipped.read_bytes() != chosen.path.read_bytes()
    networks = {INT8: shipped, UINT8: chosen.path} if converted else {"as it is": shipped}
    packages = runtime.provider(provider)(PYTHON, runtime.DEFAULT, console)
    known = (pip.TFLITE_RUNTIME, pip.AI_EDGE_LITERT)
    [part] = [part for part in packages.parts if part.name in known]
    name = f"{OURS}: {part.name} {part.version}"
    for network, model in networks.items():
        yield Contender(name, network, packages.folder, model)
    first, *_ = networks
    for build in builds:
        forced = next((each.name for each in CLASSES if each.slug == build.forced), "")
        yield Contender(name, first, build.packages, shipped, build.kernels, forced)
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
