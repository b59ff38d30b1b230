"""The evidence for a decision about a model: what is known, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Value = TypeVar("Value")
# From the strongest to the weakest.
Source = Literal["option", "catalogue", "metadata", "file", "behaviour", "default"]


@dataclass(frozen=True)
class Evidence(Generic[Value]):
    """What a source says about an open question of a model.

    Attributes:
        value: the answer.
        source: who gives it.
        reason: how, for the card and for errors.
        doubt: what contradicts a user's option; empty if nothing does.
    """

    value: Value
    source: Source
    reason: str
    doubt: str = ""

    @property
    def explanation(self) -> str:
        """Return the reason, and the doubt if there is one."""
        return f"{self.reason}, though {self.doubt}" if self.doubt else self.reason
