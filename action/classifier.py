"""The model: an image tensor -> ranked classes. One interpreter, one thread, loaded once."""

from __future__ import annotations

import json

import numpy as np

try:
    from tflite_runtime import interpreter as tflite
except ModuleNotFoundError as error:
    if error.name != "tflite_runtime":
        raise
    from ai_edge_litert import interpreter as tflite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from action.packed import Packed


class Ranked:
    """One class of an answer; `position` is its place in the model's output tensor."""

    __slots__ = ("background", "label", "position", "score", "wordnet_id")

    def __init__(
        self, position: int, label: str, wordnet_id: str, score: float, background: bool
    ) -> None:
        self.background = background
        self.position = position
        self.label = label
        self.wordnet_id = wordnet_id
        self.score = score


def load(files: Packed) -> Classifier:
    """The classifier of a zip: its model, with the settings beside it."""
    settings: dict[str, Any] = json.loads(files.read("model/model.json"))
    return Classifier(settings, files.extracted(f"model/{settings['file']}"))


class Classifier:
    """A TFLite image classifier with its labels and preprocessing.

    Attributes:
        name: the model's name in the catalogue, or its file's.
        labels: one class name per score, in the order of the output tensor.
        background: place of the class that stands for none; -1 if the model has none.
        height, width, channels: of the input image, in pixels.
        crop: side of the central square to look at, as a share of the shorter side.
    """

    def __init__(self, settings: dict[str, Any], path: str) -> None:
        """Load the model at `path`, of which `settings` are what `model.json` holds.

        It does not run it: that would take as long as the first activation, which is already
        waiting, saves by it or longer.
        """
        self.name: str = settings["name"]
        self.labels: list[str] = settings["labels"]
        self.background: int = settings.get("background", -1)
        self._wordnet_ids: list[str] = settings.get("wordnetIds", [])
        self._card: dict[str, str] = settings.get("card", {})
        self.crop: float = settings["crop"]
        self.height, self.width, self.channels = settings["size"]
        self._activation: str = settings["activation"]
        self._interpreter = tflite.Interpreter(model_path=path, num_threads=1)
        self._interpreter.allocate_tensors()
        source = self._interpreter.get_input_details()[0]
        sink = self._interpreter.get_output_details()[0]
        self._input: int = source["index"]
        self._shape: list[int] = source["shape"].tolist()
        self._output: int = sink["index"]
        self._scale: float
        self._zero_point: int
        self._scale, self._zero_point = sink["quantization"]
        if not self._scale:  # float32, or integers that mean themselves
            self._scale, self._zero_point = 1.0, 0
        self.dtype: str = np.dtype(source["dtype"]).name
        self._tensor = _preparation(settings, source)
        self._nodes: dict[str, Any] = {}

    def rank(
        self, image: NDArray[np.uint8], top_k: int, threshold: float, zeros: bool = True
    ) -> list[Ranked]:
        """Classify one image.

        Args:
            image: pixels 0..255, uint8, shape (height, width, channels).
            top_k: at most so many classes.
            threshold: only classes with at least this probability.
            zeros: whether classes with a probability of 0 (less than 0.0000005) count.

        Returns:
            Classes by falling probability; equal ones by their index.

        Raises:
            ArithmeticError: the model gave something that is no number.
        """
        raw = self.output(image)
        if raw.size != len(self.labels):  # one score for two classes
            scores = self.scores(raw)
            best: list[int] = np.argsort(-scores, kind="stable")[:top_k].tolist()
            shares: list[float] = scores[best].tolist()
        else:
            falling = -raw if raw.dtype.kind == "f" else ~raw  # ~ can't overflow, sorts in 4 us
            best = np.argsort(falling, kind="stable")[:top_k].tolist()
            shares = self._shares(raw, best)
        # A float model may overshoot by a rounding error; a probability is promised. Rounded
        # before it is compared, so that an answer's own figure is a threshold that keeps it.
        rounded = [round(min(max(share, 0.0), 1.0), 6) for share in shares]
        return [
            self._ranked(place, score)
            for place, score in zip(best, rounded, strict=True)
            if score >= threshold and (score or zeros)
        ]

    def output(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """The model's output for one image (as for `rank`) as it is stored, shape (outputs,)."""
        self._interpreter.set_tensor(self._input, self._tensor(image).reshape(self._shape))
        self._interpreter.invoke()
        raw: NDArray[Any] = self._interpreter.get_tensor(self._output).reshape(-1)
        return raw

    def real(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """What the stored numbers of an output mean."""
        if raw.dtype.kind == "f":
            return raw.astype(np.float32, copy=False)
        real: NDArray[np.float32] = (raw - np.float32(self._zero_point)) * np.float32(self._scale)
        return real

    def scores(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """The score of each class, of shape (classes,), from an output as `output` gives it."""
        shares = np.array(self._shares(raw, range(raw.size)), np.float32)
        return shares if raw.size == len(self.labels) else np.append(shares, 1 - shares)

    def _shares(self, raw: NDArray[Any], positions: Sequence[int]) -> list[float]:
        """The scores at `positions` of an output; raises ArithmeticError if it has no numbers."""
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise ArithmeticError("the model gave something that is no number (NaN or infinity)")
        if not self._activation:
            return [(raw.item(i) - self._zero_point) * self._scale for i in positions]
        values = self.real(raw)
        if self._activation == "softmax":
            powers = np.exp(values - values.max())
            shares = powers[positions] / powers.sum()
        else:
            # The logistic function, by that of tanh, which cannot overflow.
            shares = np.tanh(values[positions] / 2) / 2 + 0.5
        return shares.tolist()  # type: ignore[no-any-return]

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
            **({"card": self._card} if self._card else {}),
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
        return Ranked(index, self.labels[index], wordnet_id, score, index == self.background)


def _preparation(
    settings: dict[str, Any], source: dict[str, Any]
) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """The function from pixels, uint8 (height, width, channels), to the input tensor's values.

    The real value is (pixel - mean) / std; a quantized tensor stores real / scale + zero point
    (TensorFlow Lite's quantization specification).
    """
    mean, std = np.array(settings["mean"]), np.array(settings["std"])
    fill = _filling(mean, std, source)
    if settings.get("layout") == "nchw":
        return lambda image: fill(image).transpose(2, 0, 1)
    return fill


def _filling(
    mean: NDArray[np.float64], std: NDArray[np.float64], source: dict[str, Any]
) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    dtype = np.dtype(source["dtype"])
    if dtype.kind == "f":
        factor, shift = (1 / std).astype(np.float32), (-mean / std).astype(np.float32)
        if dtype == np.float32:
            return lambda image: image * factor + shift
        return lambda image: (image * factor + shift).astype(dtype)
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
        return lambda image: (
            (image.reshape(-1).view(np.uint64) ^ flip).view(dtype).reshape(image.shape)
        )
    return lambda image: np.frombuffer(image.tobytes().translate(table), dtype).reshape(image.shape)
