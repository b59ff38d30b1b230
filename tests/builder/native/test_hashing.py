"""The recipe's key and its steps: what a change of each file compiles again."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.base.paths import ROOT
from builder.native.collect import build_packages
from builder.native.hashing import digest
from builder.native.python import Python
from builder.native.sources import Sources
from builder.native.steps import RECIPE, BuildFolder
from builder.native.toolchain import Toolchain
from builder.packages import compiled
from builder.packages.compiled import DOCKERFILE, recipe_key


def find_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the key of each step, and of the whole recipe as `key`; run none."""
    keys = {}

    def step(self: BuildFolder, name: str, inputs: list[str], work: object) -> str:
        key = keys[re.sub(r"^cp311/|-\d+[.].*", "", name)] = " ".join([name, *inputs])
        return key

    monkeypatch.setattr(BuildFolder, "step", step)
    monkeypatch.setattr(Toolchain, "compiler", "c++ 12")
    toolchain = Toolchain(BuildFolder(folder, 1))
    python = Python("python", "3.11.2", "cp311", "include", ".so")
    build_packages(toolchain, Sources(toolchain, [], "3.11"), python, "classifier")
    return {**keys, "key": digest(RECIPE)}


COMPILED = {"xnnpack", "codecs", "tflite", "numpy", "wrapper", "pillow"}


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("exports.map", COMPILED),
        ("requirements.txt", COMPILED),
        ("collect.py", set()),
        ("numpy/patches/arrays-only.patch", {"src/numpy", "numpy", "wrapper"}),
        ("pillow/base64.c", {"codecs", "pillow"}),
        ("tflite/runtime/ops.cc", {"tflite", "wrapper"}),
        ("xnnpack/kernels/dispatch.c", {"xnnpack", "wrapper"}),
    ],
)
def test_a_change_compiles_the_packages_that_use_the_file(
    name: str, steps: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = find_keys(tmp_path, monkeypatch)
    changed, read_bytes = RECIPE / name, Path.read_bytes
    assert changed.exists()
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read_bytes(path) + b"\n" * (path == changed)
    )
    after = find_keys(tmp_path, monkeypatch)
    assert {step for step in before if after[step] != before[step]} == {*steps, "key"}


def test_the_key_covers_the_dockerfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "Dockerfile.builder"
    copy.write_bytes(DOCKERFILE.read_bytes() + b"\n")
    uncached = recipe_key.__wrapped__
    assert uncached() == recipe_key()
    monkeypatch.setattr(compiled, "DOCKERFILE", copy)
    assert uncached() != recipe_key()


def test_dockerfile_passes_hadolint() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_recipe_runs_on_a_bare_python(tmp_path: Path) -> None:
    """The container has nothing but builder/base, builder/native and a Python."""
    for name in ("builder/base", "builder/native"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "builder" / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import builder.native.__main__"
    blocked = "; sys.exit({'requests', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code + blocked], capture_output=True, text=True
    )
    assert done.stderr == "set()\n"
