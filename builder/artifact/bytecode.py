"""Byte-compile modules with the Python that will run them, which is not the one that runs this."""

import io
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from builder.base.cpython import PythonExecutable
from builder.base.errors import BuildError

_SCRIPT = Path(__file__).with_name("compile_all.py")


def compile_modules(python: PythonExecutable, sources: Mapping[str, Path]) -> dict[str, bytes]:
    """Return the code file of each source, by its name in tracebacks.

    Raises:
        BuildError: one is not Python of this version.
    """
    work = [[str(source), filename] for filename, source in sources.items()]
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            # Tracebacks name the line, not the columns: their tables are a sixth of all code.
            [python.path, "-s", "-S", "-X", "no_debug_ranges", "-c", _SCRIPT.read_text("utf-8")],
            input=json.dumps(work).encode(),
            # Python 3.10 writes a set of strings in hash order. Not with -I, which would ignore
            # the seed; nothing else is in the environment, nor in the folder.
            env={"PYTHONHASHSEED": "0"},
            cwd=empty,
            capture_output=True,
        )
    if done.returncode:
        raise BuildError(f"byte-compiling failed: {done.stderr.decode(errors='replace').strip()}")
    codes = io.BytesIO(done.stdout)
    return {filename: codes.read(int.from_bytes(codes.read(4), "little")) for filename in sources}
