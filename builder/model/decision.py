"""The evidence for a decision about a model: what is known, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Value = TypeVar("Value")
# From the strongest to the weakest.
Source = Literal["option", "catalogue", "pictures", "metadata", "file", "behaviour", "default"]


@dataclass(frozen=True)
class Evidence(Generic[Value]):
    """What a source says about an open question of a model.

    Attributes:
        value: the answer.
        source: who gives it.
        reason: how, for the card and for errors.
    """

    value: Value
    source: Source
    reason: str
