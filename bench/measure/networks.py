"""Who is compared inference by inference, and with which types of activations and weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import CLASSES, CpuClass
from bench.peers import pip
from bench.peers.peer import OURS, PYTHON, Peer
from bench.peers.peer import network as model_in
from bench.results import OUR, XNNPACK, Run
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.paths import BUILD
from builder.model.resolve import Model
from builder.packages import DEFAULT_OPTIONS, package_tag
from builder.packages.providers import PROVIDERS

INT8, UINT8, MIXED = "s8 x s8", "u8 x u8", "u8 x s8"
"""Activations by weights: signed or unsigned bytes."""


@dataclass(frozen=True)
class Contender:
    """An interpreter with a network.

    Attributes:
        interpreter: its name and version.
        network: types of activations and weights.
        packages: folders with the interpreter and numpy, in the order of the path.
        model: a .tflite or an .onnx.
        kernels, forced: as in `results.Inference`.
    """

    interpreter: str
    network: str
    packages: tuple[Path, ...]
    model: Path
    kernels: str = ""
    forced: str = ""

    @property
    def title(self) -> str:
        """For progress and errors."""
        kernels = f"{self.kernels} kernels" if self.kernels else ""
        return ", ".join(filter(None, [self.interpreter, self.network, kernels, self.forced]))


@dataclass(frozen=True)
class Variant:
    """A build of our interpreter that is made to be compared, and that no user gets.

    Attributes:
        kernels: whose it has: OUR or XNNPACK.
        forced: slug of the class of CPU that it takes this one for; empty if it looks itself.
    """

    kernels: str
    forced: str = ""


VARIANTS = {
    "xnnpack": Variant(XNNPACK),
    "avx2": Variant(OUR, "avx2"),
    "xnnpack-avx2": Variant(XNNPACK, "avx2"),
    "avx512": Variant(OUR, "avx512"),
    "xnnpack-avx512": Variant(XNNPACK, "avx512"),
}
"""By the names that `python -m builder.native variants` gives them."""
COMPILED = BUILD / "variants"
"""Where docs/internals.md has them compiled to."""


def variants(folder: Path, cpu: CpuClass) -> Iterator[tuple[Variant, Path]]:
    """Those that were compiled, each with what goes on the path before a runtime's packages.

    What is forced to the class that this machine is of is left out, since it is what is shipped,
    and so is what this machine cannot run.

    Args:
        folder: the `--out` of that command; may be missing.
        cpu: the class of this machine's CPU.
    """
    for name, variant in VARIANTS.items():
        path = folder / package_tag(PYTHON) / name
        if (path / "tflite_runtime").is_dir() and variant.forced in ("", *cpu.includes):
            yield variant, path


def contenders(
    chosen: Model,
    ours: Peer,
    peers: Sequence[Peer],
    compiled: Path,
    provider: str,
    console: Console,
    run: Run,
) -> Iterator[Contender]:
    """Ours first, then those of the peers that could be made.

    Args:
        chosen: the model, as it was found.
        ours: our zip: what it ships is that model, or an int8 one made of it.
        peers: among them the zips that pip made.
        compiled: folder with variants of our interpreter; may be missing.
        provider: where our native parts come from.
        console: shows what is fetched and compiled.
        run: its `problems` get what could not be made.
    """
    shipped = model_in(ours.archive, ours.unpacked())
    converted = shipped.read_bytes() != chosen.path.read_bytes()
    networks = {INT8: shipped, UINT8: chosen.path} if converted else {"as it is": shipped}
    packages = PROVIDERS[provider](PYTHON, DEFAULT_OPTIONS, console)
    known = (pip.TFLITE_RUNTIME, pip.AI_EDGE_LITERT)
    [part] = [part for part in packages.components if part.name in known]
    name = f"{OURS}: {part.name} {part.version}"
    for network, model in networks.items():
        yield Contender(name, network, (packages.folder,), model)
    first, *_ = networks
    for variant, path in variants(compiled, run.machine.cpu):
        forced = next((each.name for each in CLASSES if each.slug == variant.forced), "")
        both = (path, packages.folder)
        yield Contender(name, first, both, shipped, variant.kernels, forced)
    made = {peer.name: peer for peer in peers}
    for package in known:
        if peer := made.get(pip.named(package)):
            name = f"{peer.name} {peer.versions[package]}"
            for network, model in networks.items():
                yield Contender(name, network, (peer.unpacked(),), model)
    if peer := made.get(pip.named(pip.ONNXRUNTIME)):
        name = f"{peer.name} {peer.versions[pip.ONNXRUNTIME]}"
        try:
            unsigned = pip.onnx_unsigned(chosen, console)
        except BuildError as error:
            run.problems[f"inference, {name}"] = str(error)
            return
        yield Contender(name, MIXED, (peer.unpacked(),), unsigned.mixed)
        yield Contender(name, UINT8, (peer.unpacked(),), unsigned.both)
