"""Byte-compile modules with the Python that will run them, which is not the one that runs this."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from builder.errors import BuildError
from builder.interpreters import Interpreter
from builder.paths import BUILDER


def compiled(interpreter: Interpreter, files: Sequence[tuple[Path, str]]) -> dict[str, bytes]:
    """Byte-compile (source, its name in tracebacks); returns the code file of each name.

    Raises:
        BuildError: one is not Python of this version.
    """
    with tempfile.TemporaryDirectory() as scratch:
        targets = [Path(scratch) / f"{number}.pyc" for number in range(len(files))]
        work = [
            [str(source), str(target), shown]
            for (source, shown), target in zip(files, targets, strict=True)
        ]
        script = (BUILDER / "compile_all.py").read_text("utf-8")
        done = subprocess.run(
            # Tracebacks name the line, not the columns: their tables are a sixth of all code.
            [interpreter.path, "-s", "-S", "-X", "no_debug_ranges", "-c", script],
            input=json.dumps(work),
            # Python 3.10 writes a set of strings in hash order. Not with -I, which would ignore
            # the seed; nothing else is in the environment, nor in the folder.
            env={"PYTHONHASHSEED": "0"},
            cwd=scratch,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BuildError(f"byte-compiling failed: {done.stderr.strip()}")
        return {
            shown: target.read_bytes() for (_, shown), target in zip(files, targets, strict=True)
        }
