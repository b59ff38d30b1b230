"""The model: an image tensor -> ranked classes. One interpreter, one thread, loaded once."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

try:
    from tflite_runtime import interpreter as tflite
except ModuleNotFoundError as error:
    if error.name != "tflite_runtime":
        raise
    from ai_edge_litert import interpreter as tflite

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Ranked(NamedTuple):
    """One class of an answer; `position` is its place in the model's output tensor."""

    position: int
    label: str
    wordnet_id: str
    score: float


class Classifier:
    """A TFLite image classifier with its labels and preprocessing.

    Attributes:
        name: the model's name in the catalogue, or its file's.
        labels: one class name per output, in the order of the output tensor.
        height, width, channels: of the input image, in pixels.
        crop: side of the central square to look at, as a share of the shorter side.
    """

    def __init__(self, folder: str) -> None:
        """Load `model.json` and the model it names from `folder`, and run it once."""
        with open(os.path.join(folder, "model.json"), encoding="utf-8") as file:
            settings: dict[str, Any] = json.load(file)
        self.name: str = settings["name"]
        self.labels: list[str] = settings["labels"]
        self._wordnet_ids: list[str] = settings.get("wordnetIds", [])
        self.crop: float = settings["crop"]
        self._softmax: bool = settings["softmax"]
        path = os.path.join(folder, settings["file"])
        self._interpreter = tflite.Interpreter(model_path=path, num_threads=1)
        self._interpreter.allocate_tensors()
        source = self._interpreter.get_input_details()[0]
        sink = self._interpreter.get_output_details()[0]
        self._input: int = source["index"]
        self._output: int = sink["index"]
        self._scale, self._zero_point = sink["quantization"]
        _, self.height, self.width, self.channels = (int(n) for n in source["shape"])
        self.dtype: str = np.dtype(source["dtype"]).name
        self._table = _table(settings["mean"], settings["std"], source)
        self.rank(np.zeros((self.height, self.width, self.channels), np.uint8), 1, 0.0)

    def rank(self, image: NDArray[np.uint8], top_k: int, threshold: float) -> list[Ranked]:
        """Classify one image.

        Args:
            image: pixels 0..255, uint8, shape (height, width, channels).
            top_k: at most so many classes.
            threshold: only classes with at least this probability.

        Returns:
            Classes by falling probability; equal ones by their index.
        """
        scores = self.probabilities(self.scores(image))
        best = np.argsort(-scores, kind="stable")[:top_k]
        # A float model may overshoot by a rounding error; a probability is promised. Rounded
        # before it is compared, so that an answer's own figure is a threshold that keeps it.
        answer = ((int(i), round(min(max(float(scores[i]), 0.0), 1.0), 6)) for i in best)
        return [self._ranked(i, score) for i, score in answer if score >= threshold]

    def scores(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The model's output for one image (as for `rank`) as real numbers, shape (classes,)."""
        self._interpreter.set_tensor(self._input, self._tensor(image)[np.newaxis])
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._output).reshape(-1)
        scores: NDArray[np.float32] = raw.astype(np.float32)
        if raw.dtype != np.float32:
            scores = (scores - self._zero_point) * np.float32(self._scale)
        return scores

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the scores mean: softmax of them for a model that ends without one."""
        if not self._softmax:
            return scores
        powers: NDArray[np.float32] = np.exp(scores - scores.max())
        powers /= powers.sum()
        return powers

    def about(self) -> dict[str, Any]:
        """The model and the packages that run it, for `details`."""
        package = tflite.__name__.partition(".")[0]
        return {
            "name": self.name,
            "classes": len(self.labels),
            "input": [self.height, self.width, self.channels],
            "dtype": self.dtype,
            "interpreter": package,
        }

    def _tensor(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        if self._table is None:
            return image
        if self._table.ndim == 1:
            return np.take(self._table, image)
        tensor: NDArray[Any] = self._table[image, np.arange(self.channels)]
        return tensor

    def _ranked(self, index: int, score: float) -> Ranked:
        wordnet_id = self._wordnet_ids[index] if self._wordnet_ids else ""
        return Ranked(index, self.labels[index], wordnet_id, score)


def _table(mean: list[float], std: list[float], source: dict[str, Any]) -> NDArray[Any] | None:
    """What each pixel value 0..255 becomes in the input tensor; None if it stays as it is.

    The real value is (pixel - mean) / std; a quantized tensor stores real / scale + zero point
    (TensorFlow Lite's quantization specification). Shape (256,), or (256, channels) where the
    channels differ.
    """
    values = (np.arange(256.0)[:, np.newaxis] - np.array(mean)) / np.array(std)
    dtype = np.dtype(source["dtype"])
    if dtype.kind in "iu":
        scale, zero_point = source["quantization"]
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values / scale + zero_point), limits.min, limits.max)
    table: NDArray[Any] = values.astype(dtype)
    if (table == table[:, :1]).all():
        table = np.ascontiguousarray(table[:, 0])
        if dtype == np.uint8 and (table == np.arange(256)).all():
            return None
    return table
