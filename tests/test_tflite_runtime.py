"""The function on the package index's tflite-runtime, the other interpreter it knows.

Its last release, 2.14.0, is for Python up to 3.11 and for numpy 1.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder import bundle, data, interpreters, model, smoke
from builder.build import SAMPLE
from builder.console import Console
from builder.download import Package, from_index
from builder.paths import DOWNLOADS, ROOT
from builder.runtime import Options, Part, Runtime, wheels
from tests.conftest import base64_of

PYTHON = "3.11"
"""What `bench/peers/pins.toml` has the wheels for."""


def test_under_tflite_runtime(tmp_path: Path, console: Console, imagenet_model: str) -> None:
    python = PYTHON
    found = interpreters.find(python)
    if found is None:
        pytest.skip(f"no Python {python} on this machine")
    base = wheels.provide(python, Options(), console)
    folder = tmp_path / "packages"
    owner = {path: part for path, part in base.owner.items() if part == "pillow"}
    for path in owner:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(base.folder / path, folder / path)
    platforms = data.pins()["wheels"]["platforms"]
    parts = [part for part in base.parts if part.name == "pillow"]
    for name, pin in data.read(ROOT / "bench" / "pins.toml").items():
        package = Package(name, **pin)
        [wheel] = from_index([package], DOWNLOADS, console, python, platforms)
        owner |= dict.fromkeys(wheels.unpack(wheel, folder, ""), package.name)
        parts.append(Part(package.name, package.version, package.file, package.sha256, "?", ()))
    chosen = model.resolve(imagenet_model, None, console)
    runtime = Runtime(python, folder, tuple(parts), owner, "a test")
    archive = tmp_path / "a.zip"
    bundle.write(
        bundle.collect([bundle.Target(runtime, found)], chosen), archive, lambda done, total: None
    )
    with smoke.launched(archive, found.path) as running:
        answer = running.run({"image": base64_of(SAMPLE), "details": True})
    assert answer["details"]["model"]["interpreter"] == "tflite_runtime"
    assert answer["results"][0]["className"] == "espresso"
