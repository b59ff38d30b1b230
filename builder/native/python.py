"""The Python that packages are compiled for."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from builder.base.errors import BuildError

_QUESTION = (
    "import json, platform, sys, sysconfig;"
    "print(json.dumps([platform.python_version(), 'cp%d%d' % sys.version_info[:2],"
    "sysconfig.get_path('include'), sysconfig.get_config_var('EXT_SUFFIX')]))"
)


@dataclass(frozen=True)
class Python:
    """A Python executable to build for.

    Attributes:
        path: of the executable.
        version: in full, as "3.11.7".
        tag: name of its folder, as "cp311".
        include: folder of its headers.
        suffix: end of its extension modules' file names.
    """

    path: str
    version: str
    tag: str
    include: str
    suffix: str

    @property
    def minor(self) -> str:
        """The version as pins have it: "3.11"."""
        return ".".join(self.version.split(".")[:2])

    @property
    def inputs(self) -> tuple[str, str]:
        """The inputs of a step: what decides the bytes. The path does not."""
        return self.version, self.suffix


def inspect_python(path: str) -> Python:
    """Run a Python executable to learn its version and where its headers are.

    Raises:
        BuildError: it does not run, or has no headers.
    """
    try:
        command = [path, "-I", "-c", _QUESTION]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"{path} is not a working Python: {error}") from error
    python = Python(path, *json.loads(output))
    if not (Path(python.include) / "Python.h").exists():
        raise BuildError(
            f"{path} has no headers: expected {python.include}/Python.h",
            "install its development package (Debian, Ubuntu: apt install python3-dev)",
        )
    return python
