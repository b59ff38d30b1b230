"""Fetch files and prove that they are the pinned ones: by address, or from the package index.

A file appears under its name only when it is complete and its sha256 is right; until then it is
a file of another name beside it, which a later attempt within the same run resumes.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent, shorten

import requests
import truststore

from builder.base import files
from builder.base.console import Advance, Console
from builder.base.errors import DownloadError
from builder.base.files import last_lines, sha256_of
from builder.base.variables import pip_variables

ATTEMPTS = 4
TIMEOUT_SECONDS = (8, 20)
"""To connect, and to wait for the next bytes."""
_CHUNK = 1 << 16
_AGAIN = (408, 425, 429, 500, 502, 503, 504)

truststore.inject_into_ssl()


@dataclass(frozen=True)
class IndexFile:
    """A file of the package index: `name==version` and the one file of it that is wanted."""

    name: str
    version: str
    file: str
    sha256: str


class _Stop(Exception):
    """The address will not deliver, however often it is asked."""


def download_file(
    urls: Sequence[str], sha256: str, target: Path, console: Console, pause: float = 1.0
) -> Path:
    """Have the file with this sha256 at `target`, from the first address that delivers it.

    Args:
        urls: http(s) addresses, tried in order; each is resumed or tried again after a broken
            connection, with growing pauses.
        sha256: of the file, 64 hex digits.
        target: where it goes; left alone if it is the right file already.
        console: shows the progress.
        pause: seconds before the second attempt; doubled for each further one.

    Raises:
        DownloadError: no address delivered; says for each why.
        BuildError: `target` cannot be written.
        ValueError: `sha256` is not a sha256: nothing is downloaded unpinned.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"a download needs a sha256 of 64 hex digits, found {sha256!r}")
    if files.file_exists(target):
        if sha256_of(target) == sha256:
            return target
        console.note(f"{target.name} is not the pinned file: fetching it again")
    reasons = []
    with files.atomic_write(target) as part:
        for url in urls:
            reason = _from(url, sha256, part, console, pause)
            if not reason:
                return target
            reasons.append(f"{url}: {reason}")
        raise DownloadError("could not download " + "\n  or ".join(reasons))


def _from(url: str, sha256: str, part: Path, console: Console, pause: float) -> str:
    """Download `url` to `part`; the reason why it failed, empty if the file is right."""
    reason = ""
    os.truncate(part, 0)
    with console.progress(url.rpartition("/")[2]) as advance:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(pause * 2 ** (attempt - 1))
            try:
                _transfer(url, part, advance)
            except _Stop as stop:
                return str(stop)
            except requests.RequestException as error:
                reason = f"{_brief(error)} (tried {attempt + 1} times)"
                if _hopeless(error):
                    return _brief(error)
                continue
            found = sha256_of(part)
            part_size = part.stat().st_size
            if found == sha256:
                return ""
            return f"expected sha256 {sha256}, found {found} ({part_size} bytes)"
    return reason


def _transfer(url: str, part: Path, advance: Advance) -> None:
    """One request: append what `part` lacks. Raises when the body ends early."""
    have = part.stat().st_size
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code == 416:  # what we have is not a beginning of this file
            os.truncate(part, 0)
            raise requests.ConnectionError("the server refused to resume")
        if response.status_code in _AGAIN:
            raise requests.HTTPError(f"HTTP status {response.status_code}")
        if response.status_code not in (200, 206):
            raise _Stop(f"HTTP status {response.status_code}")
        if response.status_code == 200:
            have = 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        with part.open("ab" if have else "wb") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                advance(have, total)
        if total is not None and have < total:
            raise requests.ConnectionError(f"the connection ended at {have} of {total} bytes")


def _hopeless(error: requests.RequestException) -> bool:
    """Nobody answers at that address: asking again soon will not help."""
    text = str(error)
    signs = ("NameResolutionError", "Name or service not known", "Connection refused")
    kinds = (
        requests.exceptions.SSLError,
        requests.exceptions.InvalidURL,
        requests.exceptions.ConnectTimeout,
    )
    return isinstance(error, kinds) or any(sign in text for sign in signs)


def _brief(error: requests.RequestException) -> str:
    text = str(error)
    if "NameResolutionError" in text or "Name or service not known" in text:
        return "the host name could not be resolved"
    if "Connection refused" in text:
        return "connection refused"
    first = text.partition("\n")[0]
    return shorten(first, 200, placeholder=" ...") if first else type(error).__name__


def download_from_index(
    packages: Sequence[IndexFile],
    folder: Path,
    console: Console,
    python: str = "",
    platforms: Sequence[str] = (),
) -> list[Path]:
    """Have files of the package index in `folder`, through pip and its settings.

    Args:
        packages: what to fetch; files already there with the right sha256 are not fetched again.
        folder: where the files go, under their own names.
        console: shows the progress.
        python: Python version of the wheels ("3.11"); empty for source packages.
        platforms: platform tags of the wheels.

    Returns:
        One path per package, in order.

    Raises:
        DownloadError: pip failed; its last lines are quoted.
        BuildError: `folder` cannot be written.
    """
    paths = [folder / package.file for package in packages]
    if not _missing(packages, folder):
        return paths
    names = ", ".join(package.name for package in packages)
    with files.lock(folder / "pip", f"fetching {names}", console.note):
        missing = _missing(packages, folder)  # another process may have fetched some
        if missing:
            with files.temporary_folder(folder / "pip") as scratch:
                _pip_download(missing, scratch, console, python, platforms)
                for package in missing:
                    got = scratch / package.file
                    if not got.exists() or sha256_of(got) != package.sha256:
                        found = ", ".join(sorted(p.name for p in scratch.iterdir())) or "nothing"
                        raise DownloadError(
                            f"expected {package.file} from the index, found {found}"
                        )
                    got.replace(folder / package.file)
    return paths


def _missing(packages: Sequence[IndexFile], folder: Path) -> list[IndexFile]:
    """The packages whose file is not in `folder`, or is another one than the pinned."""
    return [
        package
        for package in packages
        if not files.file_exists(folder / package.file)
        or sha256_of(folder / package.file) != package.sha256
    ]


def _pip_download(
    packages: Sequence[IndexFile],
    scratch: Path,
    console: Console,
    python: str,
    platforms: Sequence[str],
) -> None:
    wanted = scratch / "requirements.txt"
    wanted.write_text(
        "".join(f"{p.name}=={p.version} --hash=sha256:{p.sha256}\n" for p in packages)
    )
    pip = [sys.executable, "-I", "-m", "pip"]
    command = [*pip, "download", "--no-deps", "--require-hashes"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "raw"]
    if python:
        command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
        for platform in platforms:
            command += ["--platform", platform]
    else:
        # Its metadata comes from its setup.py, run with the pinned setuptools of this environment.
        command += ["--no-binary", ":all:", "--no-build-isolation"]
    command += ["--dest", str(scratch), "-r", str(wanted)]
    with subprocess.Popen(
        command,
        env=pip_variables(pip, scratch),
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        log = _follow(iter(process.stdout.readline, ""), console)
    if process.returncode:
        names = ", ".join(package.name for package in packages)
        errors = [line for line in log if line.startswith(("ERROR", "error"))] or log
        raise DownloadError(
            f"the package index did not deliver {names}:\n"
            + indent(last_lines("\n".join(errors)), "  "),
            "check the network and pip's settings (pip config list), then run this again",
        )


def _follow(lines: Iterator[str], console: Console) -> list[str]:
    """Show the transfers in pip's output; returns its other lines."""
    log: list[str] = []
    label = ""
    with ExitStack() as bar:
        advance: Advance | None = None
        for line in lines:
            if match := re.match(r"Progress (\d+) of (\d+)", line):
                if advance is None:
                    advance = bar.enter_context(console.progress(label))
                advance(int(match[1]), int(match[2]) or None)
                continue
            if match := re.match(r"\s*Downloading (\S+)", line):
                bar.close()
                advance = None
                label = match[1].rpartition("/")[2]
            log.append(line.rstrip())
    return log
