"""What OpenWhisk's proxy itself takes for an init: priced, not run.

The proxy is a program in Go. It reads the request, parses the JSON, decodes the base64, inflates
and writes each file, one after the other, before it starts anything; so what it takes can be added
to what is measured of the rest. The prices are of the real proxy on one machine, a Zen 3. There
hello world took 209 ms; on another machine, or on a busy one, all prices are taken times what hello
world takes more or less (`pace`), so that ratios to it hold.

Python's own json, binascii and zlib are no stand-in. They are two to four times as fast, and a
large zip looked too good.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from builder.artifact import platform

MB = 1e6
_MS: dict[str, float] = platform.table()["proxy"]


@dataclass(frozen=True)
class Costs:
    """Prices in ms: of a request, of a file in the zip, and per MB (10^6 bytes).

    Attributes:
        request: of HTTP and what else does not depend on the zip.
        file: creating it, opening and closing it.
        body: per MB of zip, reading the request into a buffer that grows. The one that was not
            measured by itself: it is what is left of the inits of three zips after all the others.
        json: per MB of zip, finding the end of the string that has the code, and copying it.
        base64: per MB of zip.
        inflate: per MB that comes out, of the files that are deflated in the zip.
        write: per MB of all files.
    """

    request: float = _MS["request"]
    file: float = _MS["file"]
    body: float = _MS["body"]
    json: float = _MS["json"]
    base64: float = _MS["base64"]
    inflate: float = _MS["inflate"]
    write: float = _MS["write"]


PRICES = Costs()
"""On the real proxy; a file's and a request's are from an earlier fit to many zips."""
HELLO_WORLD = 209.0
"""Milliseconds of a cold start of hello world, all in all, where the prices are from."""


@dataclass(frozen=True)
class Spent:
    """Milliseconds of one init, where the prices are from.

    Attributes:
        receive: until the zip is in memory.
        unzip: until its files are written.
    """

    receive: float
    unzip: float


def spent(archive: Path, costs: Costs = PRICES) -> Spent:
    """What the proxy takes from the request for an init until it starts the action.

    A file that is stored is only written, also if the action then inflates it by itself: that is
    the action's time, and measured.

    Args:
        archive: the zip.
        costs: the prices.
    """
    with zipfile.ZipFile(archive) as zipped:
        files = [info for info in zipped.infolist() if not info.is_dir()]
    deflated = sum(file.file_size for file in files if file.compress_type != zipfile.ZIP_STORED)
    received = archive.stat().st_size / MB * (costs.body + costs.json + costs.base64)
    written = sum(file.file_size for file in files) / MB * costs.write
    return Spent(
        receive=costs.request + received,
        unzip=costs.file * len(files) + deflated / MB * costs.inflate + written,
    )


def pace(hello: Path, measured: float) -> float:
    """How many times as long as where the prices are from this machine takes.

    Args:
        hello: hello world's zip.
        measured: milliseconds of what is really run of its cold start: all but what is priced.
    """
    priced = spent(hello)
    return measured / (HELLO_WORLD - priced.receive - priced.unzip)
