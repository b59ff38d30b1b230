"""Run the TFLite model: pixels -> ranked classes. One interpreter, loaded once."""

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
from action.cpus import count_cpus
from action.request import Options

INTERPRETER = tflite.__name__.partition(".")[0]
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


def load_classifier(files: PackedZip) -> Classifier:
    """Load the model of a zip, with the settings in its `model/model.json`."""
    settings: dict[str, Any] = json.loads(files.read("model/model.json"))
    return Classifier(settings, files.extract(f"model/{settings['file']}"))


class Classifier:
    """A TFLite image classifier with its labels and preprocessing.

    Attributes:
        name: the model's name in the catalogue, or the name of its file.
        labels: one class name per score, in the order of the output tensor.
        height, width, channels: of the input image, in pixels.
        threads: that an inference uses.
        fit: how a picture becomes one of this size, as for `picture.decode`.
        crop: the part of it that is kept, as for `picture.decode`.
    """

    def __init__(self, settings: dict[str, Any], path: str) -> None:
        """Load the model at `path` with its settings, the content of `model.json`.

        The model is not run here: a first run would delay the first activation, which is already
        waiting, by as much as it saves.
        """
        self.name: str = settings["name"]
        self.labels: list[str] = settings["labels"]
        self.fit: str = settings.get("fit", "crop")
        self.crop: float = settings["crop"]
        self.height, self.width, self.channels = settings["size"]
        self._settings = settings
        self.threads: int = count_threads(settings.get("threads", 0))
        self._interpreter = tflite.Interpreter(model_path=path, num_threads=self.threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._input_shape: list[int] = self._input["shape"].tolist()
        self._output = self._interpreter.get_output_details()[0]
        scale, self._zero_point = self._output["quantization"]
        self._scale = scale or 1.0  # float32, or integers that are not quantized
        self._preprocess = build_preprocessor(settings, self._input)

    def rank(self, image: NDArray[np.uint8], options: Options) -> list[dict[str, Any]]:
        """Classify one image: pixels 0..255, uint8, shape (height, width, channels).

        Returns the `results` of an answer, by falling probability, equal ones by their index.
        Raises ArithmeticError if the output has NaN or infinity.
        """
        raw = self.run(image)
        if raw.size != len(self.labels):  # one score for two classes
            all_scores = self.scores(raw)
            best = np.argsort(-all_scores, kind="stable")[: options.top_k].tolist()
            scores = all_scores[best].tolist()
        else:
            # ~ cannot overflow as - can, and sorts in 4 us.
            descending = -raw if raw.dtype.kind == "f" else ~raw
            best = np.argsort(descending, kind="stable")[: options.top_k].tolist()
            scores = self._scores_at(raw, best)
        # The rounding errors of a float model may pass 0 or 1, but a probability is promised.
        # Rounded before the comparison, so that an answer's own figure as threshold keeps it.
        rounded = [round(min(max(score, 0.0), 1.0), 6) for score in scores]
        return [
            self._result(index, score, options.details)
            for index, score in zip(best, rounded, strict=True)
            if score >= options.threshold and (score or options.top_k_given)
        ]

    def _result(self, index: int, score: float, details: bool) -> dict[str, Any]:
        result: dict[str, Any] = {"className": self.labels[index], "probability": score}
        if index == self._settings.get("background"):  # tells people that it means "no class"
            result["background"] = True
        if details:
            result["classIndex"] = index
            wordnet_ids = self._settings.get("wordnetIds")
            if wordnet_ids and wordnet_ids[index]:
                result["wordnetId"] = wordnet_ids[index]
        return result

    def run(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the model's output for one image (as for `rank`), quantized, shape (outputs,)."""
        if self._settings.get("channels") == "bgr":
            image = np.ascontiguousarray(image[..., ::-1])
        values = self._preprocess(image).reshape(image.shape)
        if self._settings.get("layout") == "nchw":
            values = values.transpose(2, 0, 1)
        self._interpreter.set_tensor(self._input["index"], values.reshape(self._input_shape))
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._output["index"]).reshape(-1)
        return raw  # type: ignore[no-any-return]

    def dequantize(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Return the real values of an output as `run` gives it; float outputs stay as they are."""
        if raw.dtype.kind == "f":
            return raw.astype(np.float32, copy=False)
        values: NDArray[np.float32] = (raw - np.float32(self._zero_point)) * np.float32(self._scale)
        return values

    def scores(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Return the score of each class, shape (classes,), for an output as `run` gives it."""
        scores = self._scores_at(raw, range(raw.size))
        if raw.size != len(self.labels):
            scores.append(1 - scores[0])
        return np.array(scores, np.float32)

    def _scores_at(self, raw: NDArray[Any], indices: Sequence[int]) -> list[float]:
        """Return the scores at some indices of an output; raise ArithmeticError for NaN."""
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise ArithmeticError("the model's output is not a number (NaN or infinity)")
        activation = self._settings["activation"]
        if not activation:
            return [(raw.item(i) - self._zero_point) * self._scale for i in indices]
        values = self.dequantize(raw)
        if activation == "softmax":
            powers = np.exp(values - values.max())
            scores = powers[indices] / powers.sum()
        else:
            # The logistic function, written with tanh, which cannot overflow.
            scores = np.tanh(values[indices] / 2) / 2 + 0.5
        return scores.tolist()  # type: ignore[no-any-return]

    def describe_briefly(self) -> dict[str, Any]:
        """Describe the model for clients; `samples` are those classes that the page has photos of.

        `input` says what of a picture the model sees.
        """
        names = {label.partition(",")[0] for label in self.labels}
        return {
            "model": self.name,
            "classes": len(self.labels),
            "input": {
                "width": self.width, "height": self.height, "fit": self.fit, "crop": self.crop
            },
            "samples": sorted(names & {"Egyptian cat", "espresso"}),
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Describe the model and the interpreter that runs it, for `details`."""
        description = {
            "name": self.name,
            "classes": len(self.labels),
            "input": [self.height, self.width, self.channels],
            "dtype": np.dtype(self._input["dtype"]).name,
            "interpreter": INTERPRETER,
            "threads": self.threads,
            "nodes": self._nodes,
        }
        if self._settings.get("card"):
            description["card"] = self._settings["card"]
        return description

    @cached_property
    def _nodes(self) -> dict[str, Any]:
        """The nodes: `total`, those `delegated` to XNNPACK, and the names of `others`."""
        nodes = self._interpreter._get_ops_details()
        own = [node for node in nodes if node["op_name"] != "DELEGATE"]
        delegated: set[int] = set()
        for delegate in [node for node in nodes if node["op_name"] == "DELEGATE"]:
            # A delegate replaces all nodes between its inputs and its outputs. Nodes are sorted:
            # each comes after the nodes whose outputs it reads.
            inputs = {*map(int, delegate["inputs"])}
            needed = {*map(int, delegate["outputs"])} - inputs
            for node in reversed(own):
                if not needed.isdisjoint(map(int, node["outputs"])):
                    delegated.add(node["index"])
                    needed |= {*map(int, node["inputs"])} - inputs
        others = [node["op_name"] for node in own if node["index"] not in delegated]
        return {"total": len(own), "delegated": len(delegated), "others": others}


def count_threads(wanted: int = 0) -> int:
    """Return how many threads an inference uses: as wanted, or 2 if over 1.5 CPUs may be used.

    Threads of ai-edge-litert spin while they have no work, which slows all other containers of a
    host: there it is always 1.
    """
    if INTERPRETER != "tflite_runtime":
        return 1
    return wanted or (2 if count_cpus() > 1.5 else 1)


def build_preprocessor(
    settings: dict[str, Any], tensor: dict[str, Any]
) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Return the function from pixels to values of the input tensor.

    Pixels are uint8 of shape (height, width, channels). The real value is (pixel - mean) / std; a
    quantized tensor stores real / scale + zero point (TensorFlow Lite's quantization
    specification).
    """
    mean, std = np.array(settings["mean"]), np.array(settings["std"])
    dtype = np.dtype(tensor["dtype"])
    if dtype.kind == "f":
        factor, shift = (1 / std).astype(np.float32), (-mean / std).astype(np.float32)
        return lambda image: (image * factor + shift).astype(dtype, copy=False)
    scale, zero_point = tensor["quantization"]
    lowest = -(1 << dtype.itemsize * 8 - 1) if dtype.kind == "i" else 0
    highest = lowest + (1 << dtype.itemsize * 8) - 1
    values = (np.arange(256.0)[:, np.newaxis] - mean) / std
    # A scale of 0 means that integers are not quantized.
    quantized = np.rint(values / (scale or 1.0) + zero_point)
    quantized = np.clip(quantized, lowest, highest).astype(dtype)
    if (quantized != quantized[:, :1]).any():  # channels differ
        return lambda image: quantized[image, np.arange(image.shape[2])]
    if dtype.itemsize > 1:
        return lambda image: quantized[:, 0][image]
    return _build_byte_preprocessor(quantized[:, 0].tobytes(), dtype, tensor["shape"])


def _build_byte_preprocessor(
    table: bytes, dtype: np.dtype[Any], shape: Sequence[int]
) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Return the preprocessor that looks up each pixel in a table of 256 bytes."""
    if table == bytes(range(256)):
        return lambda image: image
    if table == bytes(pixel ^ 128 for pixel in range(256)) and np.prod(shape) % 8 == 0:
        # uint8 to int8, eight pixels at once: this takes a tenth of `translate`'s time.
        flip = np.uint64(0x8080808080808080)
        return lambda image: (image.reshape(-1).view(np.uint64) ^ flip).view(dtype)
    return lambda image: np.frombuffer(image.tobytes().translate(table), dtype)
