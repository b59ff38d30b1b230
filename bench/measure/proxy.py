"""The time that OpenWhisk's proxy spends on an init: estimated from the zip, not measured.

The proxy is a program in Go. It reads the request, parses the JSON, decodes the base64, then
inflates and writes one file after the other, all before it starts the action. So its time can be
added to the measured stages. The times per file and per MB come from the real proxy on one machine,
a Zen 3, where hello world took 209 ms. On other machines they are multiplied by a factor: hello
world's time here by its time there.

Python's own json, binascii and zlib cannot stand in for the proxy. They are two to four times as
fast, so a large zip would look too good. The time per MB of body was not measured by itself: it is
the remainder of three zips' inits.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from builder.artifact import platform

MB = 1e6
# Milliseconds of a whole cold start of hello world on the machine whose proxy was measured.
HELLO_WORLD_MS = 209.0
# Milliseconds per request, per file, and per MB; platform.toml explains each.
TIMES: dict[str, float] = platform.table()["proxy"]


@dataclass(frozen=True)
class ProxyEstimate:
    """Milliseconds of one init: until the zip is in memory, then until its files are written."""

    receive: float
    unzip: float


def estimate_proxy(archive: Path, times: dict[str, float] = TIMES) -> ProxyEstimate:
    """Estimate the proxy's time from the request for an init until it starts the action.

    A file that the zip stores uncompressed is only written. If the action inflates it later, that
    is the action's own, measured time.
    """
    with zipfile.ZipFile(archive) as zipped:
        files = [info for info in zipped.infolist() if not info.is_dir()]
    deflated = sum(file.file_size for file in files if file.compress_type != zipfile.ZIP_STORED)
    received = archive.stat().st_size / MB * (times["body"] + times["json"] + times["base64"])
    written = sum(file.file_size for file in files) / MB * times["write"]
    return ProxyEstimate(
        receive=times["request"] + received,
        unzip=times["file"] * len(files) + deflated / MB * times["inflate"] + written,
    )


def proxy_factor(hello: Path, measured: float) -> float:
    """Return the factor for the proxy's times on this machine.

    `measured` are the milliseconds of the measured stages of hello world's cold start here.
    """
    there = estimate_proxy(hello)
    return measured / (HELLO_WORLD_MS - there.receive - there.unzip)


def unzip(archive: Path, folder: Path) -> None:
    """Write the files of a zip into a folder with their permissions, as the proxy does."""
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(folder)
        for info in zipped.infolist():
            if mode := info.external_attr >> 16 & 0o777:
                (folder / info.filename).chmod(mode)
