"""The model: pixels -> ranked classes. One interpreter, one thread, loaded once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

try:
    from tflite_runtime import interpreter as tflite
except ModuleNotFoundError:
    from ai_edge_litert import interpreter as tflite

from action.bootstrap import PackedZip
from action.request import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


def load(files: PackedZip) -> Classifier:
    """The classifier of a zip: its model, with the settings beside it."""
    settings: dict[str, Any] = json.loads(files.read("model/model.json"))
    return Classifier(settings, files.extract(f"model/{settings['file']}"))


class Classifier:
    """A TFLite image classifier with its labels and preprocessing.

    Attributes:
        name: the model's name in the catalogue, or its file's.
        labels: one class name per score, in the order of the output tensor.
        height, width, channels: of the input image, in pixels.
        crop: side of the central square to look at, as a share of the shorter side.
    """

    def __init__(self, settings: dict[str, Any], path: str) -> None:
        """Load the model at `path`, of which `settings` are what `model.json` holds.

        It is not run: that would take as long as the first activation, which is waiting, saves.
        """
        self.name: str = settings["name"]
        self.labels: list[str] = settings["labels"]
        self.crop: float = settings["crop"]
        self.height, self.width, self.channels = settings["size"]
        self._settings = settings
        self._interpreter = tflite.Interpreter(model_path=path, num_threads=1)
        self._interpreter.allocate_tensors()
        self._source = self._interpreter.get_input_details()[0]
        self._shape: list[int] = self._source["shape"].tolist()
        self._sink = self._interpreter.get_output_details()[0]
        scale, self._zero_point = self._sink["quantization"]
        self._scale = scale or 1.0  # float32, or integers that mean themselves
        self._stored = build_preprocessor(settings, self._source)

    def rank(self, image: NDArray[np.uint8], options: Options) -> list[dict[str, Any]]:
        """Classify one image: pixels 0..255, uint8, shape (height, width, channels).

        Returns the `results` of an answer, by falling probability, equal ones by their index;
        raises ArithmeticError if the model gave something that is no number.
        """
        raw = self.run(image)
        one = raw.size != len(self.labels)  # score for two classes
        values = self.scores(raw) if one else raw
        falling = -values if values.dtype.kind == "f" else ~raw  # ~ can't overflow, sorts in 4 us
        best: list[int] = np.argsort(falling, kind="stable")[: options.top_k].tolist()
        shares = values[best].tolist() if one else self._shares(raw, best)
        # A float model may overshoot by a rounding error; a probability is promised. Rounded
        # before it is compared, so that an answer's own figure is a threshold that keeps it.
        rounded = [round(min(max(share, 0.0), 1.0), 6) for share in shares]
        return [
            self._result(index, score, options.details)
            for index, score in zip(best, rounded, strict=True)
            if score >= options.threshold and (score or options.asked)
        ]

    def _result(self, index: int, score: float, details: bool) -> dict[str, Any]:
        result: dict[str, Any] = {"className": self.labels[index], "probability": score}
        if index == self._settings.get("background"):  # for people to see: this class means none
            result["background"] = True
        if details:
            result["classIndex"] = index
            wordnet_ids = self._settings.get("wordnetIds")
            if wordnet_ids and wordnet_ids[index]:
                result["wordnetId"] = wordnet_ids[index]
        return result

    def run(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """The model's output for one image (as for `rank`) as it is stored, shape (outputs,)."""
        stored = self._stored(image).reshape(image.shape)
        stored = stored.transpose(2, 0, 1) if self._settings.get("layout") == "nchw" else stored
        self._interpreter.set_tensor(self._source["index"], stored.reshape(self._shape))
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._sink["index"]).reshape(-1)
        return raw  # type: ignore[no-any-return]

    def dequantize(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """What the stored numbers of an output mean."""
        if raw.dtype.kind == "f":
            return raw.astype(np.float32, copy=False)
        real: NDArray[np.float32] = (raw - np.float32(self._zero_point)) * np.float32(self._scale)
        return real

    def scores(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """The score of each class, of shape (classes,), from an output as `run` gives it."""
        shares = self._shares(raw, range(raw.size))
        if raw.size != len(self.labels):
            shares.append(1 - shares[0])
        return np.array(shares, np.float32)

    def _shares(self, raw: NDArray[Any], positions: Sequence[int]) -> list[float]:
        """The scores at `positions` of an output; raises ArithmeticError if it has no numbers."""
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise ArithmeticError("the model gave something that is no number (NaN or infinity)")
        activation = self._settings["activation"]
        if not activation:
            return [(raw.item(i) - self._zero_point) * self._scale for i in positions]
        values = self.dequantize(raw)
        if activation == "softmax":
            powers = np.exp(values - values.max())
            shares = powers[positions] / powers.sum()
        else:
            # The logistic function, by that of tanh, which cannot overflow.
            shares = np.tanh(values[positions] / 2) / 2 + 0.5
        return shares.tolist()  # type: ignore[no-any-return]

    def description(self) -> dict[str, Any]:
        """The model and the packages that run it, for `details`."""
        return {
            "name": self.name,
            "classes": len(self.labels),
            "input": [self.height, self.width, self.channels],
            "dtype": np.dtype(self._source["dtype"]).name,
            "interpreter": tflite.__name__.partition(".")[0],
            "nodes": self._nodes,
            **({"card": self._settings["card"]} if self._settings.get("card") else {}),
        }

    @cached_property
    def _nodes(self) -> dict[str, Any]:
        """The nodes: `total`, those `delegated` to XNNPACK, and the names of `others`."""
        nodes = self._interpreter._get_ops_details()
        own = [node for node in nodes if node["op_name"] != "DELEGATE"]
        delegated: set[int] = set()
        for delegate in [node for node in nodes if node["op_name"] == "DELEGATE"]:
            # It stands for the nodes from its inputs to its outputs; a node is behind its sources.
            inputs = {*map(int, delegate["inputs"])}
            needed = {*map(int, delegate["outputs"])} - inputs
            for node in reversed(own):
                if not needed.isdisjoint(map(int, node["outputs"])):
                    delegated.add(node["index"])
                    needed |= {*map(int, node["inputs"])} - inputs
        others = [node["op_name"] for node in own if node["index"] not in delegated]
        return {"total": len(own), "delegated": len(delegated), "others": others}


def build_preprocessor(
    settings: dict[str, Any], source: dict[str, Any]
) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """The function from pixels, uint8 (height, width, channels), to the input tensor's values.

    The real value is (pixel - mean) / std; a quantized tensor stores real / scale + zero point
    (TensorFlow Lite's quantization specification).
    """
    mean, std = np.array(settings["mean"]), np.array(settings["std"])
    dtype = np.dtype(source["dtype"])
    if dtype.kind == "f":
        factor, shift = (1 / std).astype(np.float32), (-mean / std).astype(np.float32)
        return lambda image: (image * factor + shift).astype(dtype, copy=False)
    scale, zero_point = source["quantization"]
    lowest = -(1 << dtype.itemsize * 8 - 1) if dtype.kind == "i" else 0
    highest = lowest + (1 << dtype.itemsize * 8) - 1
    real = (np.arange(256.0)[:, np.newaxis] - mean) / std
    # Integers without a scale mean themselves.
    stored = np.rint(real / (scale or 1.0) + zero_point)
    stored = np.clip(stored, lowest, highest).astype(dtype)
    if (stored != stored[:, :1]).any():
        return lambda image: stored[image, np.arange(image.shape[2])]
    if dtype.itemsize > 1:
        return lambda image: stored[:, 0][image]
    table = stored[:, 0].tobytes()
    if table == bytes(range(256)):
        return lambda image: image
    if table == bytes(pixel ^ 128 for pixel in range(256)) and np.prod(source["shape"]) % 8 == 0:
        # int8 in place of uint8: eight pixels at once, this is a tenth of `translate`'s time.
        flip = np.uint64(0x8080808080808080)
        return lambda image: (image.reshape(-1).view(np.uint64) ^ flip).view(dtype)
    return lambda image: np.frombuffer(image.tobytes().translate(table), dtype)
