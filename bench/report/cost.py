"""What activations cost: the price model of the 2018 article, and prices of today (prices.toml).

An activation is billed for its duration, at least `minimum` and rounded up to a whole `step`, times
the memory that the action was given, in GB-s (1 GB = 1024 MB, as platforms count); some platforms
add a price per request. CPU, which platforms scale with memory, is not modelled: the same duration
is priced at each memory size.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.base.toml import read_toml

SIZES = (128, 256, 512, 1024)
"""Memory that an action may be given, in MB, of the sizes that all of the platforms have."""
MEMORY = 256
"""What the article gave its action, in MB."""
PROXY = 40_000_000
"""What the platform's proxy takes beside the action's process, in bytes."""
MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """What a platform charges, in US dollars.

    Attributes:
        title: of the platform.
        gb_second: price of a GB-s.
        free_gb_seconds: GB-s per month that are free.
        step: durations are rounded up to a multiple of this, in ms.
        minimum: the least duration that is billed, in ms.
        million_requests: price of a million requests.
        free_requests: requests per month that are free; without meaning if requests cost nothing.
        source: where the figures were published.
        date: when they were last seen there.
        note: what else a reader should know.
    """

    title: str
    gb_second: float
    free_gb_seconds: float
    step: float
    minimum: float
    million_requests: float
    free_requests: float
    source: str = ""
    date: str = ""
    note: str = ""

    def billed(self, ms: float) -> float:
        """Milliseconds that are billed for an activation of `ms`."""
        return max(self.minimum, math.ceil(ms / self.step) * self.step)

    def million(self, ms: float, memory: int) -> float:
        """Price of a million activations of `ms` with `memory` MB, beyond what is free."""
        return self._gb_seconds(ms, memory) * MILLION * self.gb_second + self.million_requests

    def free(self, ms: float, memory: int) -> int:
        """How many such activations a month are free."""
        count = math.floor(self.free_gb_seconds / self._gb_seconds(ms, memory))
        return min(count, math.floor(self.free_requests)) if self.million_requests else count

    def _gb_seconds(self, ms: float, memory: int) -> float:
        return self.billed(ms) / 1000 * memory / 1024


NUMBERS = {
    "gb_second": "price of a GB-s, in US dollars",
    "free_gb_seconds": "GB-s per month that are free",
    "step": "durations are rounded up to a multiple of this, in ms",
    "minimum": "least duration that is billed, in ms",
    "million_requests": "price of a million requests",
    "free_requests": "requests per month that are free",
}
"""Of Prices: what the command line may set."""


def presets() -> dict[str, Prices]:
    """The platforms of prices.toml, by their names there."""
    tables = read_toml(Path(__file__).parents[1] / "prices.toml")
    return {name: Prices(**values) for name, values in tables.items()}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command line set prices of the reader's own; see `given`."""
    group = parser.add_argument_group(
        "prices", "of your own platform, in place of the article's; without them, only presets"
    )
    for name, meaning in NUMBERS.items():
        option = f"--price-{name.replace('_', '-')}"
        positive = name in ("gb_second", "step")
        group.add_argument(option, type=_above_zero if positive else _number, help=meaning)
    group.add_argument("--price-memory", type=int, choices=SIZES, help=f"in MB ({MEMORY})")


def given(options: argparse.Namespace) -> dict[str, float | None]:
    """The `prices` of the results: what `add_options` read, by name; None where not given."""
    return {name: getattr(options, f"price_{name}") for name in (*NUMBERS, "memory")}


def lists(prices: dict[str, Any]) -> list[Prices]:
    """The price lists to report: the reader's own if he gave any figure, then the presets.

    Args:
        prices: as `given` returns.
    """
    known = presets()
    own = {name: prices[name] for name in NUMBERS if prices.get(name) is not None}
    if not own:
        return list(known.values())
    note = "Given on the command line; what was not is the article's."
    article = dataclasses.replace(known["article"], title="your own prices", source="", date="")
    return [dataclasses.replace(article, note=note, **own), *known.values()]


def least(peak: float) -> int | None:
    """The least of SIZES that holds a process of `peak` bytes and the proxy; None if none does."""
    return next((size for size in SIZES if peak + PROXY <= size * 2**20), None)


def _number(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, found {text}")
    return number


def _above_zero(text: str) -> float:
    if (number := _number(text)) == 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return number
