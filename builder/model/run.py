"""Run a model on pictures, as the function will: with the function's own files, in a process.

A process, since a damaged model may end it; and since `action/` is no part of the builder, but what
it ships.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from builder.base.errors import ModelError
from builder.base.paths import ACTION

TIMEOUT_SECONDS = 300.0

SCRIPT = """\
import json, os, sys

import numpy as np

sys.path.insert(0, sys.argv[1])
from action.classifier import Classifier
from action.picture import decode

folder = sys.argv[2]
with open(os.path.join(folder, "model.json"), encoding="utf-8") as file:
    settings = json.load(file)
model = Classifier(settings, settings["file"])
pictures = list(np.load(os.path.join(folder, "pictures.npy")))
for path in sys.argv[3:]:
    with open(path, "rb") as file:
        data = file.read()
    pictures.append(decode(data, model.width, model.height, model.channels, model.crop).pixels)
raw = [model.run(picture).copy() for picture in pictures]
real = [model.dequantize(each) for each in raw]
nothing = np.full(len(model.labels), np.nan)
scores = [
    model.scores(each) if np.isfinite(number).all() else nothing
    for each, number in zip(raw, real)
]
np.savez(os.path.join(folder, "outputs.npz"), real=real, scores=scores)
"""


@dataclass(frozen=True)
class Outputs:
    """What a model gives for some pictures.

    Attributes:
        pictures: their names.
        real: the model's outputs, float64 of shape (pictures, outputs); stored integers as the
            numbers that they mean.
        scores: what the function answers, float64 of shape (pictures, classes).
    """

    pictures: tuple[str, ...]
    real: NDArray[np.float64]
    scores: NDArray[np.float64]


def run(
    path: Path,
    settings: dict[str, Any],
    sample: Path | None = None,
    made: dict[str, NDArray[np.uint8]] | None = None,
) -> Outputs:
    """The outputs of a model for generated pictures, and for a sample picture if there is one.

    Args:
        path: a .tflite file.
        settings: what `action/classifier.py` reads as `model.json`.
        sample: a picture's file.
        made: the generated pictures; None for `pictures`.

    Raises:
        ModelError: the model does not run; says why.
    """
    made = pictures(*settings["size"]) if made is None else made
    with tempfile.TemporaryDirectory(prefix="trial-") as scratch:
        folder = Path(scratch)
        mine = {**settings, "file": str(path.resolve())}
        (folder / "model.json").write_text(json.dumps(mine), "utf-8")
        np.save(folder / "pictures.npy", np.stack(list(made.values())))
        command = [sys.executable, "-I", "-c", SCRIPT, str(ACTION.parent), str(folder)]
        command += [str(sample.resolve())] if sample else []
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ModelError(
                f"{path.name}: no answer for {len(made)} pictures in {TIMEOUT_SECONDS:.0f} s"
            ) from None
        if done.returncode:
            raise ModelError(
                f"{path.name} does not run: {_reason(done)}",
                "try it in TensorFlow Lite by itself; if it runs there, convert it again",
            )
        with np.load(folder / "outputs.npz") as outputs:
            names = (*made, *([sample.name] if sample else []))
            return Outputs(names, outputs["real"], outputs["scores"])


def pictures(height: int, width: int, channels: int) -> dict[str, NDArray[np.uint8]]:
    """Pictures, always the same: one colour each, and then `patterns`.

    Returns:
        uint8 of shape (height, width, channels), by name.
    """
    plain = {"black": 0, "grey": 128, "white": 255}
    shape = (height, width, channels)
    made = {name: np.full(shape, value, np.uint8) for name, value in plain.items()}
    for number, name in enumerate(("red", "green", "blue") if channels == 3 else ()):
        made[name] = np.zeros(shape, np.uint8)
        made[name][..., number] = 255
    return {**made, **patterns(height, width, channels)}


def patterns(height: int, width: int, channels: int) -> dict[str, NDArray[np.uint8]]:
    """Colours in blocks and gradients, coarse to noisy, always the same; as `pictures`."""
    made = {}
    random = np.random.default_rng(2018)
    for cells in (2, 5, 13, 34):
        colours = random.integers(0, 256, (cells, cells, channels), np.uint8)
        small = Image.fromarray(colours if channels == 3 else colours[..., 0])
        for kind, way in (
            ("blocks", Image.Resampling.NEAREST),
            ("gradients", Image.Resampling.BICUBIC),
        ):
            pixels = np.asarray(small.resize((width, height), way))
            made[f"{cells} x {cells} {kind}"] = pixels.reshape(height, width, channels)
    return made


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the interpreter was ended by signal {-done.returncode}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no word of why"])[-1].removeprefix("ERROR:").strip()
