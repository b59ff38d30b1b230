"""Download files whose sha256 is known: from an address, or from the package index through pip.

A file appears under its name only when it is complete and its sha256 is right.
"""

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent, shorten

import requests
import truststore
import urllib3

from builder.base import files
from builder.base.console import Advance, Console
from builder.base.errors import DownloadError
from builder.base.files import sha256_of
from builder.base.processes import last_lines, run_command
from builder.base.variables import pip_variables

ATTEMPTS = 4
# To connect, and to wait for the next bytes.
TIMEOUT_SECONDS = (8, 20)
# For all attempts: a server may send a byte now and then.
TOTAL_SECONDS = 1800.0
# Nothing that we download is as large.
MAX_BYTES = 1 << 28
_CHUNK = 1 << 16
_PINS = "requirements.txt"
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
# Signs in a connection's error that another attempt would fail too.
_PERMANENT = {
    "NameResolutionError": "the host name could not be resolved",
    "Name or service not known": "the host name could not be resolved",
    "Connection refused": "connection refused",
}

truststore.inject_into_ssl()


@dataclass(frozen=True)
class IndexFile:
    """One file of a release in the package index."""

    name: str
    version: str
    file: str
    sha256: str


class _PermanentError(Exception):
    """Another attempt at this address would fail too."""


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
                raise _PermanentError(f"expected sha256 {sha256}, found {found} ({size} bytes)")
        except _PermanentError as error:
            raise DownloadError(f"could not download {url}: {error}") from error
    return target


def _download(url: str, part: Path, console: Console, pause: float) -> None:
    """Download an address in several attempts."""
    deadline = time.monotonic() + TOTAL_SECONDS
    with console.progress(url.rpartition("/")[2]) as advance:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(pause * 2 ** (attempt - 1))
            try:
                return _download_once(url, part, deadline, advance)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = _describe_error(error)
    raise _PermanentError(f"{reason} (tried {ATTEMPTS} times)")


def _download_once(url: str, part: Path, deadline: float, advance: Advance) -> None:
    """Request a file and write it to `part`; raise what requests or urllib3 does if that fails."""
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code in _TEMPORARY:
            raise requests.HTTPError(f"HTTP status {response.status_code}")
        if response.status_code != 200:
            raise _PermanentError(f"HTTP status {response.status_code}")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        done = 0
        with part.open("wb") as file:
            # As the bytes come: to wait for whole chunks of a slow server is to miss the deadline.
            while chunk := response.raw.read1(_CHUNK):
                done += len(chunk)
                if max(done, total or 0) > MAX_BYTES:
                    raise _PermanentError(f"expected at most {MAX_BYTES} bytes, found more")
                if time.monotonic() > deadline:
                    raise _PermanentError(f"{done} bytes in {TOTAL_SECONDS:.0f} s: gave up")
                file.write(chunk)
                advance(done, total)
    if total is not None and done < total:
        raise requests.ConnectionError(f"the connection ended at {done} of {total} bytes")


def _describe_error(error: Exception) -> str:
    """Return an error in short; raise if another attempt would fail too."""
    text = str(error)
    for sign, reason in _PERMANENT.items():
        if sign in text:
            raise _PermanentError(reason) from error
    reason = shorten(text.partition("\n")[0], 200, placeholder=" ...") or type(error).__name__
    kinds = requests.exceptions
    if isinstance(error, (kinds.SSLError, kinds.InvalidURL, kinds.ConnectTimeout)):
        raise _PermanentError(reason) from error
    return reason


def download_from_index(
    packages: Sequence[IndexFile],
    folder: Path,
    console: Console,
    python: str = "",
    platforms: Sequence[str] = (),
) -> list[Path]:
    """Download files of the package index through pip; return one path per file.

    Args:
        packages: the files; those in `folder` with the right sha256 are not downloaded again.
        folder: where the files go, under their own names.
        console: shows the progress.
        python: Python version of the wheels ("3.11"); empty for source packages.
        platforms: platform tags of the wheels.

    Raises:
        DownloadError: pip failed; its last lines are quoted.
        BuildError: `folder` cannot be written.
    """
    names = ", ".join(package.name for package in packages)
    with files.lock(folder / "pip", f"downloading {names}", console.note):
        missing = [
            package
            for package in packages
            if not files.file_exists(path := folder / package.file)
            or sha256_of(path) != package.sha256
        ]
        if missing:
            with files.temporary_folder(folder / "pip") as downloaded:
                _pip_download(missing, downloaded, console, python, platforms)
                for package in missing:
                    _take_downloaded(downloaded / package.file, folder)
    return [folder / package.file for package in packages]


def _take_downloaded(path: Path, folder: Path) -> None:
    """Move a file of the package index, whose sha256 pip has checked, to its folder."""
    if not path.exists():  # an index may have the same bytes under another name
        others = sorted(each.name for each in path.parent.iterdir() if each.name != _PINS)
        found = ", ".join(others) or "none"
        raise DownloadError(f"expected {path.name} from the index, found {found}")
    path.replace(folder / path.name)


def _pip_download(
    packages: Sequence[IndexFile],
    folder: Path,
    console: Console,
    python: str,
    platforms: Sequence[str],
) -> None:
    pins = folder / _PINS
    pins.write_text("".join(f"{p.name}=={p.version} --hash=sha256:{p.sha256}\n" for p in packages))
    pip = [sys.executable, "-I", "-m", "pip"]
    command = [*pip, "download", "--no-deps", "--require-hashes", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    if python:
        command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
        for platform in platforms:
            command += ["--platform", platform]
    else:
        # pip runs a source's setup.py for its metadata, with this environment's setuptools.
        command += ["--no-binary", ":all:", "--no-build-isolation"]
    command += ["--dest", str(folder), "-r", str(pins)]

    def follow(line: str) -> None:
        if match := re.match(r"\s*Downloading (\S+)(.*)", line):
            console.status(f"downloading {match[1].rpartition('/')[2]}{match[2]}")

    status, output = run_command(command, follow, folder, pip_variables(pip, folder))
    console.status("")
    if status:
        lines = output.splitlines()
        errors = [line for line in lines if line.startswith(("ERROR", "error"))] or lines
        names = ", ".join(package.name for package in packages)
        raise DownloadError(
            f"could not download {names} from the package index:\n"
            + indent(last_lines("\n".join(errors)), "  "),
            "check the network and pip's settings (pip config list), then run this again",
        )
