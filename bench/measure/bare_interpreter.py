"""Start a bare interpreter: a process that runs a model, without an action around it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.peers import pip
from builder.artifact.actionloop import RunningAction

_PROCESS = Path(__file__).with_name("bare_interpreter_process.py")


@contextmanager
def start_bare_interpreter(
    python: str, packages: Path, model: Path, threads: int = 1
) -> Iterator[RunningAction]:
    """Load a .tflite or .onnx in a new process, which answers until the block ends.

    `packages` is a folder with an interpreter and numpy; bare_interpreter_process.py explains the
    messages.

    Raises:
        BuildError: the model cannot be loaded.
    """
    variables = {"MODEL": str(model.resolve()), "PACKAGES": str(packages), "THREADS": str(threads)}
    with tempfile.TemporaryDirectory(prefix="interpreter-") as folder:
        Path(folder, "exec").write_text(f"#!python -I -S\n{_PROCESS.read_text('utf-8')}")
        shutil.copy(pip.HERE / "interpreters.py", folder)
        with closing(RunningAction(Path(folder), python, variables, isolated=True)) as process:
            yield process


@contextmanager
def start_inferences(python: str, packages: Path, model: Path) -> Iterator[Callable[[], float]]:
    """Start a bare interpreter; yield a function that runs one inference and returns its ms."""
    with start_bare_interpreter(python, packages, model) as process:
        yield lambda: float(process.send(b"{}")["ms"])
