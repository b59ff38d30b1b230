"""The inference suite: the model alone, on one thread, in every peer's interpreter, in turns."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure.rounds import Progress, take_turns
from bench.peers import pip
from bench.peers.ours import INTERPRETERS, OURS
from bench.peers.peer import PYTHON, Peer, extract_model
from bench.results import Inference, Run
from builder.artifact import actionloop
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.model.resolve import Model
from builder.packages import DEFAULT_OPTIONS
from builder.packages.providers import PROVIDERS

# Types of activations by types of weights: signed or unsigned bytes.
INT8, UINT8, MIXED = "s8 x s8", "u8 x u8", "u8 x s8"

_LOOP = Path(__file__).with_name("inference_loop.py")


@contextmanager
def start_loop(
    python: str, packages: Path, model: Path, threads: int = 1
) -> Iterator[actionloop.RunningAction]:
    """Load a model in a process of `inference_loop.py`; raise BuildError if it cannot, or dies."""
    variables = {"MODEL": str(model), "PACKAGES": str(packages), "THREADS": str(threads)}
    with tempfile.TemporaryDirectory(prefix="interpreter-") as folder:
        Path(folder, "exec").write_text(f"#!python -I -S\n{_LOOP.read_text('utf-8')}")
        shutil.copy(pip.HERE / "interpreters.py", folder)
        action = actionloop.RunningAction(Path(folder), python, variables, isolated=True)
        try:
            yield action
        finally:
            action.close()


@contextmanager
def start_interpreter(python: str, packages: Path, model: Path) -> Iterator[Callable[[], float]]:
    """Load a model as `start_loop` does; yield a function that times one inference, in ms."""
    with start_loop(python, packages, model) as action:
        yield lambda: float(action.send(b"{}")["ms"])


@dataclass(frozen=True)
class Contender:
    """A peer's interpreter with a model, a .tflite or an .onnx; `figures` gets the times."""

    figures: Inference
    packages: Path
    model: Path


def list_contenders(
    model: Model, peers: Sequence[Peer], provider: str, console: Console
) -> Iterator[Contender]:
    """Yield the interpreters of our zip and of the pip zips, each with the models it can run."""
    ours = next(peer for peer in peers if peer.name == OURS)
    shipped = extract_model(ours.archive, ours.unpacked())
    converted = shipped.read_bytes() != model.path.read_bytes()
    models = {INT8: shipped, UINT8: model.path} if converted else {"unconverted": shipped}
    for peer in peers:
        package = peer.info.interpreter
        interpreter = f"{package} {peer.info.versions.get(package, '')}"
        if peer.name == OURS:
            packages = PROVIDERS[provider](PYTHON, DEFAULT_OPTIONS, console).folder
        elif peer.info.is_ours or peer.info.is_image:
            continue
        else:
            packages = peer.unpacked()
        if package in INTERPRETERS:
            for types, path in models.items():
                yield Contender(Inference(peer.name, interpreter, types), packages, path)
        else:
            network = pip.convert_to_onnx(model, console)
            yield Contender(Inference(peer.name, interpreter, MIXED), packages, network)


def measure_inference(
    contenders: Sequence[Contender], python: str, count: int, run: Run, progress: Progress
) -> None:
    """Fill the run's `inference`, also when an interrupt ends it."""
    with ExitStack() as running:
        participants = {}
        for each in contenders:
            title = f"{each.figures.peer}, {each.figures.types}"
            progress(f"inference: starting {title}")
            try:
                starting = start_interpreter(python, each.packages, each.model)
                infer = running.enter_context(starting)
            except BuildError as error:
                run.problems[f"inference, {title}"] = str(error)
                continue
            run.inference.append(each.figures)
            participants[title] = _record(infer, each.figures.ms)
        take_turns(participants, count, "inference", run, progress)


def _record(infer: Callable[[], float], times: list[float]) -> Callable[[int], None]:
    return lambda _: times.append(round(infer(), 3))
