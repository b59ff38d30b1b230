"""What a build puts into the zip: complete, reproducible, without traces of this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder import build
from builder.artifact import actionloop, modules
from builder.artifact.action_files import BOOT_FILES
from builder.artifact.manifest import MANIFEST, Manifest
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_full_disk_is_named_and_nothing_is_left(
    small_disk: Path, tmp_path: Path, colour_labels: Path
) -> None:
    model = ColourModel("uint8").write(tmp_path / "m.tflite")
    command = [sys.executable, "build_zip.py", "--model", str(model), "--quiet"]
    command += ["--labels", str(colour_labels), "--runtime", "wheels", "--no-smoke", "--no-keep"]
    output = small_disk / "dist" / "a.zip"
    full = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True
    )
    assert full.returncode == 1
    assert "a.zip: No space left on device" in full.stderr
    assert "free some space" in full.stderr
    assert not list(small_disk.rglob("*.*"))


def test_zip_of_wheels_has_exactly_its_files(wheels_path: Path) -> None:
    assert wheels_path.stat().st_size <= 31_000_000
    contents = read_zip(wheels_path)
    assert contents.outside == sorted(contents.outside)
    assert set(contents.outside) == {
        *("__main__.py", "packed.zip"),
        *(f"action/{name}.py" for name in BOOT_MODULES),
        *(f"action/__pycache__/{name}.{TAG}.pyc" for name in BOOT_MODULES),
    }
    names = contents.files.keys()
    assert not [name for name in names if "/cli." in name or "tests/" in name or "f2py" in name]
    assert names - set(contents.outside) == {
        *(name for name in names if name.startswith(("lib/", "model/"))),
        *("manifest.json", "LICENSES.txt", "sbom.cdx.json"),
        *(f"action/{name}.py" for name in PACKED_MODULES),
        *(f"action/{path.name}" for path in ACTION.glob("*.html")),
    }


def test_manifest_and_licences_name_each_package(wheels_path: Path) -> None:
    files = read_zip(wheels_path).files
    manifest = Manifest.from_json(files[MANIFEST])
    licences = files["LICENSES.txt"].decode()
    components = {component.name: component for component in manifest.components}
    for name in ("ai-edge-litert", "numpy", "pillow"):
        assert components[name].version
        assert components[name].python == HERE
        assert re.fullmatch("[0-9a-f]{64}", components[name].sha256)
        assert components[name].licence in licences
    for text in ("Apache License", "OpenBLAS", "LIBJPEG", "Permission is hereby granted"):
        assert text in licences


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


def test_all_modules_ship_as_code(wheels_path: Path) -> None:
    files = read_zip(wheels_path).files
    names = modules.read_index(files, HERE).names
    assert {"numpy", "numpy._core.multiarray", "numpy._core._multiarray_umath"} <= names
    assert {"PIL", "PIL.JpegImagePlugin", "PIL._imaging", "action.activation"} <= names
    folder = modules.library_folder(HERE)
    streams = {name.removeprefix(folder) for name in files if name.endswith(".code")}
    packages = {"action", "ai-edge-litert", "numpy", "pillow"}
    assert {stream.partition(".")[0] for stream in streams} == packages
    assert not [name for name in files if name.startswith(folder) and ".py" in name]


@pytest.mark.parametrize("kind", ["zip_path", "wheels_path"])
def test_no_file_names_this_machine(request: pytest.FixtureRequest, kind: str) -> None:
    checkout = str(ROOT).encode()
    for name, content in read_zip(request.getfixturevalue(kind)).files.items():
        if not name.endswith((".so", ".tflite")) and ".so." not in name:
            assert checkout not in content, name
            assert b"/tmp/" not in content or name.startswith("lib/"), name


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
