"""The function with tflite-runtime of the package index, the other interpreter it supports.

Its last release, 2.14.0, is for Python up to 3.11 and for numpy 1.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bench.peers import pip
from builder.artifact import actionloop, contents, modules
from builder.artifact.smoke import SAMPLE
from builder.base import cpython
from builder.base.archive import write_zip
from builder.base.console import Console
from builder.model import resolve
from builder.model.resolve import ModelOptions
from builder.packages import Component, Runtime
from tests.conftest import base64_of

# The version that `bench/peers/pip/tflite-runtime.txt` has wheels for.
PYTHON = "3.11"


@pytest.mark.thorough
def test_tflite_runtime_answers(tmp_path: Path, console: Console, imagenet_model: str) -> None:
    python = PYTHON
    found = cpython.find_python(python)
    if found is None:
        pytest.skip(f"no Python {python} on this machine")
    chosen = resolve.resolve_model(imagenet_model, ModelOptions(), console)
    folder = tmp_path / "packages"
    files = pip.action_files(pip.TFLITE_RUNTIME, chosen, console)
    with zipfile.ZipFile(pip.build_peer(pip.TFLITE_RUNTIME, chosen, console).archive) as peer:
        peer.extractall(folder, set(peer.namelist()) - files.keys())
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    owner = {path.relative_to(folder).as_posix(): pip.TFLITE_RUNTIME for path in paths}
    version = pip.pinned_versions(pip.TFLITE_RUNTIME)[pip.TFLITE_RUNTIME]
    part = Component(pip.TFLITE_RUNTIME, version, "the package index", "?", "?", ())
    runtime = Runtime(python, folder, (part,), owner, "a test")
    path = tmp_path / "a.zip"
    entries = contents.collect_entries([modules.PythonRuntime(runtime, found)], chosen)
    write_zip(entries, path)
    with actionloop.start_action(path, found.path) as running:
        answer = running.run({"image": base64_of(SAMPLE), "details": True})
    assert answer["details"]["model"]["interpreter"] == "tflite_runtime"
    assert answer["results"][0]["className"] == "espresso"
