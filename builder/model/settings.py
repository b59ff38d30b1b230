"""The settings of a model, which the function reads from `model.json` beside the .tflite file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelSettings:
    """How the function preprocesses a picture, and how it names and scores the classes.

    Attributes:
        name: of the model, as answers with details and reports call it.
        file: the model's file name in the zip.
        crop: side of the central crop, as a share of the picture's shorter side.
        size: height, width and channels of the input, in pixels.
        layout: "nhwc", or "nchw" where the channels come first.
        mean, std: a pixel p enters as (p - mean) / std; one number, or one per channel.
        activation: what the function applies to the output: "softmax", "sigmoid" or "".
        labels: the class names, one per class.
        background: index of the background class; None if there is none.
        wordnet_ids: one per class, or empty.
        card: what was decided about the model and why, by topic.
    """

    name: str
    file: str
    crop: float
    size: tuple[int, int, int]
    layout: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    activation: str
    labels: tuple[str, ...]
    background: int | None = None
    wordnet_ids: tuple[str, ...] = ()
    card: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings under the names that they have in JSON."""
        settings: dict[str, Any] = {
            "name": self.name,
            "file": self.file,
            "crop": self.crop,
            "size": list(self.size),
            "layout": self.layout,
            "mean": list(self.mean),
            "std": list(self.std),
            "activation": self.activation,
            "labels": list(self.labels),
        }
        if self.background is not None:
            settings["background"] = self.background
        if self.wordnet_ids:
            settings["wordnetIds"] = list(self.wordnet_ids)
        return settings | {"card": self.card}

    def to_json(self) -> bytes:
        """Return the content of `model.json`."""
        return json.dumps(self.as_dict(), ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes) -> ModelSettings:
        """Read the content of `model.json`.

        Raises:
            ValueError: it is not JSON, or lacks a setting.
        """
        try:
            found = json.loads(content)
            height, width, channels = found["size"]
            return cls(
                name=found["name"],
                file=found["file"],
                crop=found["crop"],
                size=(height, width, channels),
                layout=found["layout"],
                mean=tuple(found["mean"]),
                std=tuple(found["std"]),
                activation=found["activation"],
                labels=tuple(found["labels"]),
                background=found.get("background"),
                wordnet_ids=tuple(found.get("wordnetIds", ())),
                card=found["card"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the settings of a model: {error!r}") from error
