"""The settings of a model, which the function reads from `model.json` beside the .tflite file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

# Names in JSON that differ from the attributes'.
_JSON_NAMES = {"wordnet_ids": "wordnetIds"}


@dataclass(frozen=True)
class ModelSettings:
    """How the function preprocesses a picture, and how it names and scores the classes.

    Attributes:
        name: of the model, as answers with details and reports call it.
        file: the model's file name in the zip.
        crop: what is kept of the largest central part; 1 unless `fit` is "crop".
        size: height, width and channels of the input, in pixels.
        layout: "nhwc", or "nchw" where the channels come first.
        mean, std: a pixel p enters as (p - mean) / std; one number, or one per channel.
        activation: what the function applies to the output: "softmax", "sigmoid" or "".
        labels: the class names, one per class.
        background: index of the background class; None if there is none.
        wordnet_ids: one per class, or empty.
        fit: how a picture becomes one of this size: "crop", "squash" or "pad".
        channels: the order of colours in which pixels enter: "rgb" or "bgr".
        threads: that an inference uses; None to decide when the function starts.
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
    fit: str = "crop"
    channels: str = "rgb"
    threads: int | None = None
    card: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings under their names in JSON, without those that are empty."""
        return {
            _JSON_NAMES.get(name, name): value
            for name, value in vars(self).items()
            if value not in (None, ())
        }

    def to_json(self) -> bytes:
        """Return the content of `model.json`."""
        return json.dumps(self.as_dict(), ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes) -> ModelSettings:
        """Read the content of `model.json`; raise ValueError if it is not settings of a model."""
        try:
            found: dict[str, Any] = json.loads(content)
            names = {_JSON_NAMES.get(each.name, each.name): each.name for each in fields(cls)}
            values: dict[str, Any] = {
                names[key]: tuple(value) if isinstance(value, list) else value
                for key, value in found.items()
                if key in names
            }
            return cls(**values)
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"not the settings of a model: {error}") from error
