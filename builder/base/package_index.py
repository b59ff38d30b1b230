"""Download files of the package index through pip, as the user has configured it.

Standard library only, until a console is needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from builder.base import files
from builder.base.errors import DownloadError
from builder.base.processes import last_lines, run_command
from builder.base.variables import neutral_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.base.console import Console


@dataclass(frozen=True)
class IndexFile:
    """One file of a release in the package index."""

    name: str
    version: str
    file: str
    sha256: str


def run_pip(
    command: Sequence[str],
    requirements: Path,
    folder: Path,
    title: str,
    follow: Callable[[str], None] = lambda line: None,
) -> None:
    """Run a command of pip that downloads files, in the folder that it puts them into.

    Args:
        command: pip, the command, and options that say which files fit.
        requirements: a requirements file in which every line has hashes.
        folder: where pip runs: without modules that it could import.
        title: what is downloaded, for the error.
        follow: is called with each line of pip's output.

    Raises:
        DownloadError: pip failed; its last lines are quoted.
    """
    options = ["--no-deps", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    options += ["--progress-bar", "off", "-r", str(requirements.resolve())]
    status, output = run_command([*command, *options], follow, folder, neutral_variables())
    if status:
        raise DownloadError(
            f"could not download {title} from the package index:\n"
            + indent(last_lines(output), "  "),
            "check the network and pip's settings (pip config list), then run this again",
        )


def download_from_index(
    packages: Sequence[IndexFile],
    folder: Path,
    console: Console,
    python: str = "",
    platforms: Sequence[str] = (),
) -> list[Path]:
    """Download files of the package index; return one path per file.

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
            or files.sha256_of(path) != package.sha256
        ]
        if missing:
            with files.temporary_folder(folder / "pip") as downloaded:
                _download(missing, downloaded, console, python, platforms)
                for package in missing:
                    (downloaded / package.file).replace(folder / package.file)
    return [folder / package.file for package in packages]


def _download(
    packages: Sequence[IndexFile],
    folder: Path,
    console: Console,
    python: str,
    platforms: Sequence[str],
) -> None:
    pins = folder / "requirements.txt"
    pins.write_text("".join(f"{p.name}=={p.version} --hash=sha256:{p.sha256}\n" for p in packages))
    command = [sys.executable, "-I", "-m", "pip", "download", "--dest", str(folder)]
    if python:
        command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
        for platform in platforms:
            command += ["--platform", platform]
    else:
        # pip runs a source's setup.py for its metadata, with this environment's setuptools.
        command += ["--no-binary", ":all:", "--no-build-isolation"]

    def follow(line: str) -> None:
        if match := re.match(r"\s*Downloading (\S+)(.*)", line):
            console.status(f"downloading {match[1].rpartition('/')[2]}{match[2]}")

    run_pip(command, pins, folder, ", ".join(package.name for package in packages), follow)
    console.status("")
