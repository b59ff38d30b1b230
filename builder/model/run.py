"""Run a model in the tool's own interpreter, with the function's code, on generated pictures.

In a process of its own: a damaged model may end it, and `action/` is what the builder ships, not a
library of the builder's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from builder.base.errors import ModelError
from builder.base.paths import ACTION
from builder.model.settings import ModelSettings

_TIMEOUT_SECONDS = 300.0
# Added for each picture that is run.
_SECONDS_PER_RUN = 1.0

_SCRIPT = """\
import json, os, sys
from functools import lru_cache

import numpy as np

sys.path.insert(0, sys.argv[1])
from action.classifier import Classifier
from action.picture import decode

@lru_cache(maxsize=1)
def decode_files(width, height, channels, crop, fit):
    pictures = []
    for path in sys.argv[3:]:
        try:
            with open(path, "rb") as file:
                pictures.append(decode(file.read(), width, height, channels, crop, fit=fit).pixels)
        except Exception as error:
            print(f"{path}: {error}", file=sys.stderr)
            sys.exit(3)
    return pictures

folder = sys.argv[2]
with open(os.path.join(folder, "models.json"), encoding="utf-8") as file:
    variants = json.load(file)
arrays = list(np.load(os.path.join(folder, "pictures.npy")))
all_values, all_scores = [], []
for settings in variants:
    model = Classifier(settings, settings["file"])
    size = (model.width, model.height, model.channels)
    pictures = arrays + decode_files(*size, model.crop, model.fit)
    outputs = [model.run(picture).copy() for picture in pictures]
    values = [model.dequantize(output) for output in outputs]
    not_finite = np.full(len(model.labels), np.nan)
    all_values.append(values)
    all_scores.append([
        model.scores(output) if np.isfinite(value).all() else not_finite
        for output, value in zip(outputs, values)
    ])
np.savez(os.path.join(folder, "outputs.npz"), values=all_values, scores=all_scores)
"""
# The script's exit status if a picture cannot be read.
_BROKEN_PICTURE = 3


@dataclass(frozen=True)
class ModelOutputs:
    """The outputs of a model for some pictures.

    Attributes:
        pictures: their names.
        values: the dequantized outputs, float64 of shape (pictures, outputs).
        scores: what the function answers, float64 of shape (pictures, classes).
    """

    pictures: tuple[str, ...]
    values: NDArray[np.float64]
    scores: NDArray[np.float64]


def run_model(
    path: Path,
    variants: Sequence[ModelSettings],
    files: Sequence[Path] = (),
    pictures: dict[str, NDArray[np.uint8]] | None = None,
) -> list[ModelOutputs]:
    """Run a model as the function does, with each of several settings, on the same pictures.

    These are arrays by name, the generated ones if None is given, and then files, which are
    decoded as the function decodes them.

    Raises:
        ModelError: the model does not run, or a file is no picture; says why.
    """
    if pictures is None:
        pictures = generate_pictures(*variants[0].size)
    with tempfile.TemporaryDirectory(prefix="run-model-") as scratch:
        folder = Path(scratch)
        file = str(path.resolve())
        settings = [replace(each, file=file).as_dict() for each in variants]
        (folder / "models.json").write_text(json.dumps(settings), "utf-8")
        np.save(folder / "pictures.npy", np.array(list(pictures.values()), np.uint8))
        command = [sys.executable, "-I", "-c", _SCRIPT, str(ACTION.parent), str(folder)]
        command += [str(each.resolve()) for each in files]
        runs = len(variants) * (len(pictures) + len(files))
        seconds = _TIMEOUT_SECONDS + runs * _SECONDS_PER_RUN
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise ModelError(
                f"{path.name}: no answer for {runs} pictures in {seconds:.0f} s"
            ) from None
        if done.returncode == _BROKEN_PICTURE:
            raise ModelError(done.stderr.strip().splitlines()[-1], "take that picture out")
        if done.returncode:
            raise ModelError(
                f"{path.name} does not run: {_find_error(done)}",
                "try it in TensorFlow Lite by itself; if it runs there, convert it again",
            )
        with np.load(folder / "outputs.npz") as outputs:
            names = (*pictures, *(each.name for each in files))
            pairs = zip(outputs["values"], outputs["scores"], strict=True)
            return [ModelOutputs(names, values, scores) for values, scores in pairs]


def generate_pictures(height: int, width: int, channels: int) -> dict[str, NDArray[np.uint8]]:
    """Return pictures of one colour and those of `generate_patterns`, the same in every call.

    They are uint8 of shape (height, width, channels), by name.
    """
    shape = (height, width, channels)
    greys = {"black": 0, "grey": 128, "white": 255}
    pictures = {name: np.full(shape, value, np.uint8) for name, value in greys.items()}
    for channel, name in enumerate(("red", "green", "blue") if channels == 3 else ()):
        pictures[name] = np.zeros(shape, np.uint8)
        pictures[name][..., channel] = 255
    return {**pictures, **generate_patterns(height, width, channels)}


def generate_patterns(height: int, width: int, channels: int) -> dict[str, NDArray[np.uint8]]:
    """Return blocks and gradients of random colours, coarse to noisy, the same in every call."""
    pictures = {}
    random = np.random.default_rng(2018)
    for cells in (2, 5, 13, 34):
        colours = random.integers(0, 256, (cells, cells, channels), np.uint8)
        small = Image.fromarray(colours if channels == 3 else colours[..., 0])
        for kind, method in (
            ("blocks", Image.Resampling.NEAREST),
            ("gradients", Image.Resampling.BICUBIC),
        ):
            pixels = np.asarray(small.resize((width, height), method))
            pictures[f"{cells} x {cells} {kind}"] = pixels.reshape(height, width, channels)
    return pictures


def _find_error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line of a failed process's messages that says why it failed."""
    if done.returncode < 0:
        return f"the interpreter was ended by signal {-done.returncode}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it printed no reason"])[-1].removeprefix("ERROR:").strip()
