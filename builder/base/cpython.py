"""Find a CPython of a given version on this machine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from builder.base.variables import neutral_variables

_PROBE = (
    "import json, sys, platform, sysconfig; print(json.dumps([platform.python_implementation(), "
    "sys.executable, platform.python_version(), sysconfig.get_platform()]))"
)


@dataclass(frozen=True)
class PythonExecutable:
    """A CPython that runs here."""

    path: str
    full_version: str
    platform: str

    @property
    def runs_zips(self) -> bool:
        """Whether it can load the zip's native parts: they are for Linux x86_64."""
        return self.platform == "linux-x86_64"


@cache
def find_python(version: str) -> PythonExecutable | None:
    """A CPython `version` ("3.11"): the running one, on PATH, from pyenv or uv; None if none."""
    for candidate in _candidates(version):
        found = _probe(candidate)
        if found and found.full_version.rpartition(".")[0] == version:
            return found
    return None


def _candidates(version: str) -> Iterator[str]:
    if "{}.{}".format(*sys.version_info) == version:
        yield sys.executable
    if path := shutil.which(f"python{version}"):
        yield path
    home = Path(os.path.expanduser("~"))
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    uv = Path(os.environ.get("XDG_DATA_HOME", home / ".local" / "share")) / "uv" / "python"
    for folder in (pyenv, uv):
        for pattern in (f"{version}.*", f"cpython-{version}.*"):
            yield from sorted(str(p) for p in folder.glob(f"{pattern}/bin/python{version}"))


def _probe(path: str) -> PythonExecutable | None:
    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _PROBE],
            env=neutral_variables(),
            capture_output=True,
            text=True,
            timeout=20,
        )
        # Its own word for where it is: `path` may be a shim that needs an environment.
        kind, executable, full_version, platform = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return PythonExecutable(executable, full_version, platform) if kind == "CPython" else None
