"""Download files whose sha256 is known, from an address.

A file appears under its name only when it is complete and its sha256 is right.
"""

import re
import time
from pathlib import Path

import requests
import truststore
import urllib3

from builder.base import files
from builder.base.console import Console
from builder.base.errors import DownloadError
from builder.base.files import sha256_of

ATTEMPTS = 4
# To connect, and to wait for the next bytes.
TIMEOUT_SECONDS = (8, 20)
# For all attempts: a server may send a byte now and then.
TOTAL_SECONDS = 1800.0
# Nothing that we download is as large.
MAX_BYTES = 1 << 28
_CHUNK = 1 << 16
_PROGRESS_SECONDS = 2
# Statuses of servers that may deliver the file later.
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
_BROKEN_OFF = (requests.ConnectionError, requests.ReadTimeout, urllib3.exceptions.HTTPError)

truststore.inject_into_ssl()


def download_file(
    url: str, sha256: str, target: Path, console: Console, pause: float = 1.0
) -> Path:
    """Download a file to `target`; return `target`.

    Args:
        url: an http(s) address. After a broken connection the download starts again.
        sha256: of the file, 64 hex digits.
        target: the file to write; left alone if it is the right file already.
        console: shows the progress.
        pause: seconds before the second attempt; doubled for each further one.

    Raises:
        DownloadError: the address did not deliver the file.
        BuildError: `target` cannot be written.
        ValueError: `sha256` is not a sha256: nothing is downloaded unpinned.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"a download needs a sha256 of 64 hex digits, found {sha256!r}")
    if files.file_exists(target):
        if sha256_of(target) == sha256:
            return target
        console.note(f"{target.name} is not the pinned file: downloading it again")
    with files.atomic_write(target) as part:
        try:
            _download(url, part, console, pause)
            if (found := sha256_of(part)) != sha256:
                size = part.stat().st_size
                raise requests.RequestException(
                    f"expected sha256 {sha256}, found {found} ({size} bytes)"
                )
        except requests.RequestException as error:
            raise DownloadError(f"could not download {url}: {error}") from error
    return target


def _download(url: str, part: Path, console: Console, pause: float) -> None:
    """Download an address; try again if the server breaks off or is not available."""
    deadline = time.monotonic() + TOTAL_SECONDS
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            return _download_once(url, part, deadline, console)
        except _BROKEN_OFF as error:
            if isinstance(error.args[0], urllib3.exceptions.MaxRetryError):  # no connection
                raise requests.RequestException(error.args[0].reason) from error
            reason = error
    raise requests.RequestException(f"{reason} (tried {ATTEMPTS} times)")


def _download_once(url: str, part: Path, deadline: float, console: Console) -> None:
    """Request a file and write it to `part`.

    Raises:
        _BROKEN_OFF: another attempt may succeed, if there was a connection.
        requests.RequestException: it would fail too.
    """
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code in _TEMPORARY:
            raise urllib3.exceptions.HTTPError(f"HTTP status {response.status_code}")
        if response.status_code != 200:
            raise requests.HTTPError(f"HTTP status {response.status_code}")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else 0  # 0: not known
        done, shown = 0, time.monotonic()
        with part.open("wb") as file:
            # As the bytes come: to wait for whole chunks of a slow server is to miss the deadline.
            while chunk := response.raw.read1(_CHUNK):
                done += len(chunk)
                if max(done, total) > MAX_BYTES:
                    raise requests.HTTPError(f"expected at most {MAX_BYTES} bytes, found more")
                if (now := time.monotonic()) > deadline:
                    raise requests.HTTPError(f"{done} bytes in {TOTAL_SECONDS:.0f} s: gave up")
                file.write(chunk)
                if now > shown + _PROGRESS_SECONDS:
                    console.status(f"{part.name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")
                    shown = now
    console.status("")
    if done < total:
        raise urllib3.exceptions.HTTPError(f"the connection ended at {done} of {total} bytes")
