"""What packages are compiled for: a Python, and a choice of operators."""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from builder.base.errors import BuildError

OPS = ("classifier", "all")
"""Which operators an interpreter can have: those of tflite/runtime/ops.cc, or all of TFLite's."""


class Python(NamedTuple):
    """An interpreter to build for.

    Attributes:
        path: of its executable.
        version: full, as "3.11.7".
        tag: names its folder, as "cp311".
        include: folder of its headers.
        suffix: what its extension modules' file names end in.
    """

    path: str
    version: str
    tag: str
    include: str
    suffix: str

    @property
    def minor(self) -> str:
        """The version that pins are for, as "3.11"."""
        return ".".join(self.version.split(".")[:2])

    @property
    def inputs(self) -> tuple[str, str]:
        """What of an interpreter decides the bytes: not where it is."""
        return self.version, self.suffix


def python(path: str) -> Python:
    """Ask an interpreter about itself.

    Raises:
        BuildError: it does not run, or has no headers.
    """
    question = (
        "import json, platform, sys, sysconfig;"
        "print(json.dumps([platform.python_version(), 'cp%d%d' % sys.version_info[:2],"
        "sysconfig.get_path('include'), sysconfig.get_config_var('EXT_SUFFIX')]))"
    )
    try:
        asked = [path, "-I", "-c", question]
        answer = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"{path} is no Python that runs: {error}") from error
    target = Python(path, *json.loads(answer))
    if not (Path(target.include) / "Python.h").exists():
        raise BuildError(
            f"{path} has no headers: expected {target.include}/Python.h",
            "install its development package (Debian, Ubuntu: apt install python3-dev)",
        )
    return target
