"""Find the CPython executables on this machine by their version."""

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
        """Whether it can load the zip's native parts, which are for Linux x86_64."""
        return self.platform == "linux-x86_64"


@cache
def find_python(version: str) -> PythonExecutable | None:
    """Return a CPython of a version ("3.11"): the running one, on PATH, of pyenv or uv; or None."""
    for candidate in _list_candidates(version):
        python = _probe_executable(candidate)
        if python and python.full_version.rpartition(".")[0] == version:
            return python
    return None


def _list_candidates(version: str) -> Iterator[str]:
    if "{}.{}".format(*sys.version_info) == version:
        yield sys.executable
    if path := shutil.which(f"python{version}"):
        yield path
    home = Path(os.path.expanduser("~"))
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    uv = Path(os.environ.get("XDG_DATA_HOME", home / ".local" / "share")) / "uv" / "python"
    for folder in (pyenv, uv):
        yield from sorted(map(str, folder.glob(f"*/bin/python{version}")))


def _probe_executable(path: str) -> PythonExecutable | None:
    """Run an executable and return what it is; None if it is not a working CPython."""
    command = [path, "-I", "-S", "-c", _PROBE]
    try:
        asked = subprocess.run(
            command, env=neutral_variables(), capture_output=True, text=True, timeout=20
        )
        # It tells its own path: `path` may be a shim that needs an environment.
        kind, executable, full_version, platform = json.loads(asked.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return PythonExecutable(executable, full_version, platform) if kind == "CPython" else None
