"""Which files are deflated: what each would cost a cold start, in milliseconds."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from builder.artifact import platform
from builder.base.archive import Entry, deflated

MB = 1e6

OWN_INFLATE = 4.2
"""Milliseconds per MB that comes out of CPython's zlib: 3.1 for code, 4.6 for weights."""
AHEAD = 0.5
"""Share of that which counts for what a thread inflates while modules are imported: with a second
CPU nothing, without one all."""
MEMORY = {"size": 100.0, "balanced": 2.0, "cold": 0.0}
"""Milliseconds that `--optimize` would pay for a MB of zip less: some 3.5 MB of the action's
memory, and has to be sent to each host."""


@dataclass(frozen=True)
class File:
    """What becomes of one file.

    Attributes:
        path: in the zip, or in `packed.zip`.
        bytes: of the file.
        zipped: of it in the zip, without headers.
        deflated: whether it is; else it is stored.
        ms: that it costs a cold start: receiving, writing, inflating.
    """

    path: str
    bytes: int
    zipped: int
    deflated: bool
    ms: float


def plan(entries: Sequence[Entry], optimize: str = "balanced") -> list[File]:
    """The cheaper way for each file.

    Args:
        entries: the files.
        optimize: a key of MEMORY.
    """
    files = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # which libdeflate does not hold up
        sizes = list(threads.map(lambda entry: len(deflated(entry.content)), entries))
    for entry, small in zip(entries, sizes, strict=True):
        size = len(entry.content)
        stored = cost(entry, size, size, False)
        less = cost(entry, size, small, True)
        deflates = small < size and less < stored + MEMORY[optimize] * (size - small) / MB
        zipped = small if deflates else size
        files.append(File(entry.path, size, zipped, deflates, less if deflates else stored))
    return files


def cost(entry: Entry, size: int, zipped: int, inflates: bool) -> float:
    """Milliseconds that a file costs a cold start.

    Args:
        entry: the file.
        size: bytes of it.
        zipped: bytes of it in the zip.
        inflates: whether it is deflated there.
    """
    proxy = platform.table()["proxy"]
    ms = zipped * (proxy["body"] + proxy["json"] + proxy["base64"])
    if entry.outside:  # the proxy unpacks it
        ms += size * (proxy["write"] + inflates * proxy["inflate"])
    else:
        own = {"later": 0.0, "ahead": AHEAD, "start": 1.0}[entry.when]
        ms += zipped * proxy["write"] + inflates * size * own * OWN_INFLATE
    return float(ms / MB)
