"""What a build puts into the zip: complete, reproducible, without traces of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder import build
from builder.artifact import actionloop, modules
from builder.artifact.action_files import BOOT_FILES
from builder.artifact.manifest import MANIFEST
from builder.base import cpython
from builder.base.archive import read_zip
from builder.base.console import Console
from builder.base.paths import ACTION, ROOT
from builder.model.resolve import ModelOptions
from tests.conftest import (
    EACH_PYTHON,
    HERE,
    IMAGE,
    PLUS_MINUS_ONE,
    at_hand,
    base64_of,
    clone,
    encoded,
    interpreter,
    plain,
)
from tests.support.models import ColourModel

TAG = f"cpython-{HERE.replace('.', '')}"
LAUNCHER = {"action/launcher.py", f"action/__pycache__/launcher.{TAG}.pyc"}
BOOT_MODULES = {name.removesuffix(".py") for name in BOOT_FILES} - {"launcher"}
PACKED_MODULES = {path.stem for path in ACTION.glob("*.py")} - {"__main__", "launcher"}
PACKED_MODULES -= BOOT_MODULES


def test_precompiled_zip_differs_in_what_the_runtime_would_make(
    zip_path: Path, precompiled_path: Path
) -> None:
    portable, precompiled = read_zip(zip_path), read_zip(precompiled_path)
    before, after = portable.files, precompiled.files
    assert before.keys() - after.keys() == {"__main__.py"}
    assert after.keys() - before.keys() == {"main__.py", "exec", "exec.env"} | LAUNCHER
    assert set(precompiled.outside) > LAUNCHER
    assert after["main__.py"] == before["__main__.py"]
    common = before.keys() & after.keys()
    assert {name for name in common if before[name] != after[name]} == {MANIFEST}
    assert after["exec.env"] == IMAGE.encode()
    own = {name for name in modules.read_index(after, HERE).names if name.startswith("action.")}
    assert own == {f"action.{name}" for name in PACKED_MODULES}


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_another_checkout_builds_the_same_bytes(
    make_zip: Callable[..., Path], imagenet_model: str, python: str, tmp_path: Path
) -> None:
    """And with caches of its own."""
    checkout = clone(tmp_path / "elsewhere" / "checkout")
    model = str((ROOT / imagenet_model).resolve()) if "/" in imagenet_model else imagenet_model
    command = [sys.executable, "build_zip.py", "--model", model, "--python", python, "--json"]
    command += ["--quiet", "--runtime", at_hand([python])]

    def run(*arguments: str) -> Any:
        done = subprocess.run(arguments, cwd=checkout, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    report = run(*command)
    portable = make_zip(python, imagenet_model)
    assert (checkout / "dist" / "classify.zip").read_bytes() == portable.read_bytes()
    run(*command, "--precompiled", "--execution-env", IMAGE, "--output", "p.zip", "--no-keep")
    precompiled = make_zip(python, imagenet_model, execution_env=IMAGE)
    assert (checkout / "p.zip").read_bytes() == precompiled.read_bytes()
    results = report["smoke"][python]["results"]
    assert results[0]["className"] == "espresso"
    answer = run(interpreter(python), "-m", "action", "builder/artifact/sample/espresso.jpg")
    assert answer["results"] == [
        {key: result[key] for key in ("className", "probability")} for result in results
    ]


def test_sources_ship_where_no_python_compiles_them(
    tmp_path: Path,
    console: Console,
    colour_labels: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Build without a Python of the zip's version: warn, and still make a zip that answers."""
    python = interpreter(HERE)
    monkeypatch.setattr(cpython, "find_python", lambda version: None)
    output = tmp_path / "a.zip"
    config = build.BuildConfig(
        (HERE,),
        output,
        str(ColourModel().write(tmp_path / "m.tflite")),
        ModelOptions(colour_labels, PLUS_MINUS_ONE),
        provider="wheels",
        keep=False,
    )
    assert build.build(config, console).smoke == {}
    printed = capsys.readouterr().err
    assert f"Python {HERE} is not installed: the modules are not byte-compiled" in printed
    assert "not invoked" in printed
    files = read_zip(output).files
    assert not [name for name in files if name.endswith(".pyc")]
    index = modules.read_index(files, HERE)
    assert index.magic == ""
    assert {"numpy", "action.activation"} <= index.names
    with actionloop.start_action(output, python) as running:
        answer = running.run({"image": base64_of(encoded(plain("red")))})
    assert answer["results"][0]["className"] == "red"
