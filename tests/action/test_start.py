"""Modules that a cold start imports: those in builder/artifact/start.txt, all compiled."""

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
files = {name: getattr(sys.modules[name].__spec__, "origin", None) for name in loaded}
print(json.dumps([answer, files]))
"""


@pytest.fixture(scope="module")
def loaded(
    make_zip: Callable[..., Path],
    imagenet_model: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str | None]:
    """Modules after the answer for a JPEG, and where each is from."""
    archive = make_zip(
        PYTHON, imagenet_model, provider="local", execution_env=execution_env(f"python:{PYTHON}")
    )
    folder = tmp_path_factory.mktemp("start")
    actionloop.unpack_zip(archive, folder)
    done = subprocess.run(
        [interpreter(PYTHON), "-ISB", "-c", COLD_START, str(folder)],
        input=base64_of(SAMPLE),
        capture_output=True,
        text=True,
        env={},
        check=True,
    )
    assert done.stderr == ""  # nothing is announced: it would be in every container's log
    answer, files = json.loads(done.stdout.splitlines()[-1])
    assert answer["results"][0]["className"] == "espresso"
    found: dict[str, str | None] = files
    return found


def test_start_imports_the_listed_modules(loaded: dict[str, str | None]) -> None:
    """The list decides what a start inflates. A new module costs time: add it only for a reason."""
    assert sorted(loaded) == sorted(modules.list_start_modules())


def test_start_compiles_no_module_of_the_standard_library(
    loaded: dict[str, str | None], tmp_path: Path
) -> None:
    """The official image has code files only for the modules that pip imported in its build."""
    subprocess.run(  # it looks for a package, and finds none
        [interpreter(PYTHON), "-m", "pip", "install", "--no-index", "no-such-package"],
        env={"PYTHONPYCACHEPREFIX": str(tmp_path)},
        capture_output=True,
    )
    cached = {path.with_suffix("").with_suffix("") for path in tmp_path.rglob("*.pyc")}
    assert len(cached) > 300
    sources = {
        name: Path(origin)
        for name, origin in loaded.items()
        if origin and origin.endswith(".py") and Path(origin).is_absolute() and "action" not in name
    }
    assert len(sources) > 10
    without = [
        name
        for name, path in sources.items()
        if tmp_path / path.with_suffix("").relative_to("/") not in cached
    ]
    assert without == []
