"""The model: an image tensor -> ranked classes. One interpreter, one thread, loaded once."""

from __future__ import annotations

import json
import os

import numpy as np

try:
    from tflite_runtime import interpreter as tflite
except ModuleNotFoundError as error:
    if error.name != "tflite_runtime":
        raise
    from ai_edge_litert import interpreter as tflite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray


class Ranked:
    """One class of an answer; `position` is its place in the model's output tensor."""

    __slots__ = ("label", "position", "score", "wordnet_id")

    def __init__(self, position: int, label: str, wordnet_id: str, score: float) -> None:
        self.position = position
        self.label = label
        self.wordnet_id = wordnet_id
        self.score = score


class Classifier:
    """A TFLite image classifier with its labels and preprocessing.

    Attributes:
        name: the model's name in the catalogue, or its file's.
        labels: one class name per output, in the order of the output tensor.
        height, width, channels: of the input image, in pixels.
        crop: side of the central square to look at, as a share of the shorter side.
    """

    def __init__(self, folder: str) -> None:
        """Load `model.json` and the model it names from `folder`.

        It does not run it: that would take as long as the first activation, which is already
        waiting, saves by it or longer.
        """
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
        quantized = sink["dtype"] != np.float32
        self._scale: float
        self._zero_point: int
        self._scale, self._zero_point = sink["quantization"] if quantized else (1.0, 0)
        _, self.height, self.width, self.channels = (int(n) for n in source["shape"])
        self.dtype: str = np.dtype(source["dtype"]).name
        self._tensor = _preparation(settings["mean"], settings["std"], source)
        self._nodes: dict[str, Any] = {}

    def rank(self, image: NDArray[np.uint8], top_k: int, threshold: float) -> list[Ranked]:
        """Classify one image.

        Args:
            image: pixels 0..255, uint8, shape (height, width, channels).
            top_k: at most so many classes.
            threshold: only classes with at least this probability.

        Returns:
            Classes by falling probability; equal ones by their index.
        """
        raw = self.output(image)
        falling = -raw if raw.dtype == np.float32 else ~raw  # ~ can't overflow, and sorts in 4 us
        best: list[int] = np.argsort(falling, kind="stable")[:top_k].tolist()
        # A float model may overshoot by a rounding error; a probability is promised. Rounded
        # before it is compared, so that an answer's own figure is a threshold that keeps it.
        scores = [round(min(max(p, 0.0), 1.0), 6) for p in self.probabilities(raw, best)]
        ranked = zip(best, scores, strict=True)
        return [self._ranked(i, score) for i, score in ranked if score >= threshold]

    def output(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """The model's output for one image (as for `rank`) as it is stored, shape (classes,)."""
        self._interpreter.set_tensor(self._input, self._tensor(image)[np.newaxis])
        self._interpreter.invoke()
        raw: NDArray[Any] = self._interpreter.get_tensor(self._output).reshape(-1)
        return raw

    def probabilities(self, raw: NDArray[Any], positions: list[int]) -> list[float]:
        """What the output says of the classes at `positions`; softmax if the model has none."""
        if self._softmax:
            values = (raw - np.float32(self._zero_point)) * np.float32(self._scale)
            powers = np.exp(values - values.max())
            shares: list[float] = (powers[positions] / powers.sum()).tolist()
            return shares
        return [(raw.item(i) - self._zero_point) * self._scale for i in positions]

    def about(self) -> dict[str, Any]:
        """The model and the packages that run it, for `details`."""
        package = tflite.__name__.partition(".")[0]
        return {
            "name": self.name,
            "classes": len(self.labels),
            "input": [self.height, self.width, self.channels],
            "dtype": self.dtype,
            "interpreter": package,
            "nodes": self.nodes(),
        }

    def nodes(self) -> dict[str, Any]:
        """Where the nodes of the model's graph run: `total`, `delegated` and the names of `others`.

        The delegate is XNNPACK; other nodes run on TFLite's own kernels, which are slower.
        """
        if not self._nodes:
            nodes = self._interpreter._get_ops_details()
            own = {node["index"]: node for node in nodes if node["op_name"] != "DELEGATE"}
            source = {int(tensor): node for node in own.values() for tensor in node["outputs"]}
            taken: set[int] = set()
            for delegate in [node for node in nodes if node["op_name"] == "DELEGATE"]:
                # The nodes it stands for are those between its outputs and its inputs.
                seen, left = set(map(int, delegate["inputs"])), set(map(int, delegate["outputs"]))
                while left := left - seen:
                    seen |= left
                    found = [source[tensor] for tensor in left if tensor in source]
                    taken.update(node["index"] for node in found)
                    left = {int(tensor) for node in found for tensor in node["inputs"]}
            others = [node["op_name"] for index, node in own.items() if index not in taken]
            self._nodes = {"total": len(own), "delegated": len(taken), "others": others}
        return self._nodes

    def _ranked(self, index: int, score: float) -> Ranked:
        wordnet_id = self._wordnet_ids[index] if self._wordnet_ids else ""
        return Ranked(index, self.labels[index], wordnet_id, score)


def _preparation(
    mean: list[float], std: list[float], source: dict[str, Any]
) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """The function from pixels, uint8 (height, width, channels), to the input tensor's values.

    The real value is (pixel - mean) / std; a quantized tensor stores real / scale + zero point
    (TensorFlow Lite's quantization specification).
    """
    dtype = np.dtype(source["dtype"])
    if dtype == np.float32:
        factor = (1 / np.array(std)).astype(np.float32)
        shift = (-np.array(mean) / np.array(std)).astype(np.float32)
        return lambda image: image * factor + shift
    scale, zero_point = source["quantization"]
    lowest = -128 if dtype == np.int8 else 0
    real = (np.arange(256.0)[:, np.newaxis] - np.array(mean)) / np.array(std)
    stored = np.clip(np.rint(real / scale + zero_point), lowest, lowest + 255).astype(dtype)
    if (stored != stored[:, :1]).any():
        return lambda image: stored[image, np.arange(image.shape[2])]
    table = stored[:, 0].tobytes()
    if table == bytes(range(256)):
        return lambda image: image
    if table == bytes(pixel ^ 128 for pixel in range(256)) and np.prod(source["shape"]) % 8 == 0:
        # int8 in place of uint8: eight pixels at once, this is a tenth of `translate`'s time.
        flip = np.uint64(0x8080808080808080)
        return lambda image: (
            (image.reshape(-1).view(np.uint64) ^ flip).view(dtype).reshape(image.shape)
        )
    return lambda image: np.frombuffer(image.tobytes().translate(table), dtype).reshape(image.shape)
