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
from builder.paths import DOWNLOADS
from builder.runtime import Options, Part, Runtime, wheels
from tests.conftest import HERE, base64_of

_PLATFORM = "manylinux_2_17_x86_64.manylinux2014_x86_64"
PACKAGES = {
    "3.10": (
        Package(
            "tflite-runtime",
            "2.14.0",
            "tflite_runtime-2.14.0-cp310-cp310-manylinux2014_x86_64.whl",
            "bb11df4283e281cd609c621ac9470ad0cb5674408593272d7593a2c6bde8a808",
        ),
        Package(
            "numpy",
            "1.26.4",
            f"numpy-1.26.4-cp310-cp310-{_PLATFORM}.whl",
            "ffa75af20b44f8dba823498024771d5ac50620e6915abac414251bd971b4529f",
        ),
    ),
    "3.11": (
        Package(
            "tflite-runtime",
            "2.14.0",
            "tflite_runtime-2.14.0-cp311-cp311-manylinux2014_x86_64.whl",
            "195ab752e7e57329a68e54dd3dd5439fad888b9bff1be0f0dc042a3237a90e4d",
        ),
        Package(
            "numpy",
            "1.26.4",
            f"numpy-1.26.4-cp311-cp311-{_PLATFORM}.whl",
            "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5",
        ),
    ),
}


def test_under_tflite_runtime(tmp_path: Path, console: Console, imagenet_model: str) -> None:
    python = HERE if HERE in PACKAGES else "3.11"
    found = interpreters.find(python)
    if found is None:
        pytest.skip(f"tflite-runtime 2.14.0 needs Python 3.10 or 3.11, and here is no {python}")
    base = wheels.provide(python, Options(), console)
    folder = tmp_path / "packages"
    owner = {path: part for path, part in base.owner.items() if part == "pillow"}
    for path in owner:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(base.folder / path, folder / path)
    platforms = data.pins()["wheels"]["platforms"]
    parts = [part for part in base.parts if part.name == "pillow"]
    for package in PACKAGES[python]:
        [wheel] = from_index([package], DOWNLOADS, console, python, platforms)
        owner |= dict.fromkeys(wheels.unpack(wheel, folder, package.name), package.name)
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
