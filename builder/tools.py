"""Environments for the tool and its tests, prepared once. Standard library only.

`build_zip.py` runs on a bare Python; what it needs is installed from a hash-pinned requirements
file into a virtual environment under `build/`, named after a hash of that file and of the Python.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from builder.errors import BuildError
from builder.paths import BUILD

MINIMUM = (3, 10)


def environment(
    name: str, requirements: Path, base: str = sys.executable, within: Path = BUILD
) -> Path:
    """The interpreter of the environment that holds `requirements`; makes it if it is not there.

    Args:
        name: what the environment is for, part of its folder's name.
        requirements: a pip requirements file in which every line has hashes.
        base: the interpreter to make it with; by default the running one.
        within: the folder that the environment's own is made in.

    Raises:
        BuildError: this Python is too old, has no venv or pip, or pip failed.
    """
    if sys.version_info < MINIMUM:
        raise BuildError(
            "expected Python {}.{} or newer, found {}.{}".format(*MINIMUM, *sys.version_info),
            "run this command with a newer interpreter, for example python3.11",
        )
    folder = within / f"{name}-{_key(requirements, base, within)}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = folder / "ready"
    if ready.exists() and python.exists():
        return python
    print(f"preparing {folder.name} (once; from {requirements.name}) ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    pip = _create(folder, python, base)
    done = subprocess.run(
        [*pip, "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        + ["--no-deps", "--require-hashes", "--no-warn-script-location", "-r", str(requirements)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise BuildError(
            f"pip could not install {requirements.name}:\n{_tail(done.stdout)}",
            "check the network and pip's settings (pip config list), then run this again",
        )
    ready.touch()
    return python


def _create(folder: Path, python: Path, base: str) -> list[str]:
    """Make the environment and return the command of a pip that installs into it."""
    try:
        venv = subprocess.run(
            [base, "-m", "venv", str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if venv.returncode == 0:
            return [str(python), "-m", "pip"]
        # Debian's python3 without python3-venv: no ensurepip, but perhaps a pip of its own.
        subprocess.run(
            [base, "-m", "venv", "--without-pip", str(folder)],
            check=True,
            capture_output=True,
        )
        subprocess.run([sys.executable, "-m", "pip", "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        version = "{}.{}".format(*sys.version_info)
        raise BuildError(
            f"this Python ({base}) cannot make a virtual environment with pip: {error}",
            f"install its venv module (Debian, Ubuntu: apt install python{version}-venv)",
        ) from error
    return [sys.executable, "-m", "pip", "--python", str(python)]


def _key(requirements: Path, base: str, within: Path) -> str:
    what = [sys.version, sysconfig.get_platform(), base, str(within)]
    digest = hashlib.sha256("\n".join(what).encode() + requirements.read_bytes())
    return digest.hexdigest()[:12]


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
