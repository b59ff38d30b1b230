"""Byte-compile modules with the Python that will run them, which is not the one that runs this."""

import hashlib
import io
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from builder.base.cpython import PythonExecutable
from builder.base.errors import BuildError
from builder.base.files import cached
from builder.base.paths import BUILD, BUILDER

# Byte-compiled modules: most builds change none.
CODES = BUILD / "codes"


def compile_modules(
    interpreter: PythonExecutable, files: Sequence[tuple[Path, str]]
) -> dict[str, bytes]:
    """Byte-compile (source, its name in tracebacks); returns the code file of each name.

    What was compiled is kept, since most builds change none of it.

    Raises:
        BuildError: one is not Python of this version.
    """
    script = (BUILDER / "artifact" / "compile_all.py").read_text("utf-8")
    made_of = [interpreter.full_version, script]
    for source, shown in files:
        made_of += [shown, hashlib.sha256(source.read_bytes()).hexdigest()]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    codes = io.BytesIO(cached(CODES / digest, lambda: _run_script(interpreter, files, script)))
    lengths = (int.from_bytes(codes.read(4), "little") for _ in files)
    return {shown: codes.read(length) for (_, shown), length in zip(files, lengths, strict=True)}


def _run_script(
    interpreter: PythonExecutable, files: Sequence[tuple[Path, str]], script: str
) -> bytes:
    """What the script writes."""
    work = [[str(source), shown] for source, shown in files]
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            # Tracebacks name the line, not the columns: their tables are a sixth of all code.
            [interpreter.path, "-s", "-S", "-X", "no_debug_ranges", "-c", script],
            input=json.dumps(work).encode(),
            # Python 3.10 writes a set of strings in hash order. Not with -I, which would ignore
            # the seed; nothing else is in the environment, nor in the folder.
            env={"PYTHONHASHSEED": "0"},
            cwd=empty,
            capture_output=True,
        )
    if done.returncode:
        raise BuildError(f"byte-compiling failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
