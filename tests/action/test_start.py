"""Modules that a cold start imports: those in builder/artifact/start.txt."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.artifact import actionloop, modules
from builder.artifact.platform import execution_env
from builder.artifact.smoke import SAMPLE
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.conftest import base64_of, interpreter

# The list is for this version; others differ by a few modules of the standard library.
PYTHON = "3.11"

pytestmark = pytest.mark.skipif(
    not compiled.is_cached(PYTHON, DEFAULT_OPTIONS),
    reason=f"nothing is compiled for Python {PYTHON}",
)
COLD_START = """\
import sys
bare = {*sys.modules}
sys.path.insert(0, sys.argv[1])
from main__ import main
import action.launcher
answer = main({"image": sys.stdin.read()})
loaded = {*sys.modules} - bare - {"main__"}
import json
print(json.dumps([answer, sorted(loaded)]))
"""


def test_start_imports_the_listed_modules(
    make_zip: Callable[..., Path], imagenet_model: str, tmp_path: Path
) -> None:
    """The list decides what a start inflates. A new module costs time: add it only for a reason."""
    environment = execution_env(f"python:{PYTHON}")
    archive = make_zip(PYTHON, imagenet_model, provider="local", execution_env=environment)
    actionloop.unpack_zip(archive, tmp_path)
    done = subprocess.run(
        [interpreter(PYTHON), "-ISB", "-c", COLD_START, str(tmp_path)],
        input=base64_of(SAMPLE), capture_output=True, text=True, env={}, check=True,
    )  # fmt: skip
    assert done.stderr == ""  # nothing is announced: it would be in every container's log
    answer, loaded = json.loads(done.stdout.splitlines()[-1])
    assert answer["results"][0]["className"] == "espresso"
    assert loaded == sorted(modules.list_start_modules())
