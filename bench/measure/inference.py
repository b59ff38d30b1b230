"""The inference suite: the model alone, on one thread, in every peer's interpreter, in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.measure.bare_interpreter import start_inferences
from bench.peers import pip
from bench.peers.ours import INTERPRETERS, OURS, find_packages
from bench.peers.peer import extract_model, find_python
from bench.results import Inference
from bench.session import Session
from builder.base.errors import BuildError
from builder.model.resolve import Model

# Types of activations by types of weights: signed or unsigned bytes.
INT8, UINT8, MIXED = "s8 x s8", "u8 x u8", "u8 x s8"


def list_interpreters(model: Model, session: Session) -> Iterator[tuple[Inference, Path, Path]]:
    """Yield the interpreters of our zip and of the pip zips, with each model that they can run.

    Each comes as the results to fill, the folder of its packages, and the .tflite or .onnx.
    """
    ours = next(peer for peer in session.peers if peer.name == OURS)
    shipped = extract_model(ours.archive, ours.unpacked)
    converted = shipped.read_bytes() != model.path.read_bytes()
    models = {INT8: shipped, UINT8: model.path} if converted else {"unconverted": shipped}
    for peer in session.peers:
        if peer.info.is_image or (peer.info.is_ours and peer is not ours):
            continue
        package = peer.info.interpreter
        interpreter = f"{package} {peer.info.versions.get(package, '')}"
        packages = find_packages() if peer is ours else peer.unpacked
        if package in INTERPRETERS:
            for types, path in models.items():
                yield Inference(peer.name, interpreter, types), packages, path
        else:
            network = pip.convert_to_onnx(model)
            yield Inference(peer.name, interpreter, MIXED), packages, network


def measure_inference(model: Model, session: Session) -> None:
    """Fill the run's `inference`, also when an interrupt ends it."""
    with ExitStack() as running:
        participants = {}
        for inference, packages, path in list_interpreters(model, session):
            title = f"{inference.peer}, {inference.types}"
            session.show_progress(f"inference: starting {title}")
            try:
                starting = start_inferences(find_python().path, packages, path)
                infer = running.enter_context(starting)
            except BuildError as error:
                session.run.problems[f"inference, {title}"] = str(error)
                continue
            session.run.inference.append(inference)
            participants[title] = _record(infer, inference.ms)
        session.take_turns("inferences", participants)


def _record(infer: Callable[[], float], times: list[float]) -> Callable[[int], None]:
    return lambda _: times.append(round(infer(), 3))
