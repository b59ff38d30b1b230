"""The recipe's key and its steps: what a change of each file compiles again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.base.paths import ROOT
from builder.native.pins import read_pins
from builder.native.steps import RECIPE
from builder.packages import compiled
from builder.packages.compiled import DOCKERFILE, recipe_key

# What is added to a file to change its meaning; any byte does it to the others.
CHANGES = {
    ".py": "CHANGED = 1\n",
    ".toml": "changed = 1\n",
    ".txt": "changed\n",
    ".patch": "+changed\n",
}
KEYS = """
import json, os, re, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from builder.native import collect, hashing, sources, steps, toolchain
from builder.native.python import Python
keys = {}
def step(self, name, inputs, work):
    keys[name] = " ".join([name, *inputs])
    return keys[name]
steps.BuildFolder.step = step
toolchain.Toolchain.compiler = "c++ 12"
short = lambda name: re.sub(r"^cp311/|-\\d+[.].*", "", name)
for line in sys.stdin:
    if not os.fork():  # a child reads the files again
        tools = toolchain.Toolchain(steps.BuildFolder(Path(sys.argv[1], "build"), 1))
        python = Python("python", "3.11.2", "cp311", "include", ".so")
        found = sources.Sources(tools, [], "3.11")
        collect.build_packages(tools, found, python, "classifier")
        keys["key"] = hashing.digest(steps.RECIPE)
        print(json.dumps({short(name): key for name, key in keys.items()}), flush=True)
        os._exit(0)
    os.wait()
"""

Keys = Callable[[], dict[str, str]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the builder, to be edited."""
    folder = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "builder", folder / "builder", ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def keys(checkout: Path) -> Iterator[Keys]:
    """Return a function that reads the key of each step, and of the whole recipe as `key`."""
    command = [sys.executable, "-I", "-c", KEYS, str(checkout)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]

        def read_keys() -> dict[str, str]:
            process.stdin.write("\n")
            process.stdin.flush()
            answer: dict[str, str] = json.loads(process.stdout.readline())
            return answer

        yield read_keys


@pytest.fixture(scope="module")
def before(keys: Keys) -> dict[str, str]:
    """Return the keys of the unedited checkout."""
    return keys()


@contextmanager
def edited(checkout: Path, name: str, text: str) -> Iterator[None]:
    """Give a file of the recipe another content until the block ends."""
    path = checkout / "builder" / "native" / name
    before = path.read_text("utf-8")
    path.write_text(text, "utf-8")
    try:
        yield
    finally:
        path.write_text(before, "utf-8")


def changed_steps(
    checkout: Path, keys: Keys, before: dict[str, str], name: str, text: str
) -> set[str]:
    """Return the steps whose key changes with a file of the recipe."""
    with edited(checkout, name, text):
        after = keys()
    return {step for step in before if after[step] != before[step]}


COMPILED = {"xnnpack", "codecs", "tflite", "numpy", "wrapper", "pillow"}


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("exports.map", {"numpy", "wrapper", "pillow"}),
        ("requirements.txt", COMPILED),
        ("toolchain.py", COMPILED),
        ("collect.py", set()),
        ("leave-out.cmake", COMPILED),
        ("numpy/build.py", {"numpy", "wrapper"}),
        ("numpy/front.py", set()),
        ("numpy/patches/arrays-only.patch", {"src/numpy", "numpy", "wrapper"}),
        ("pillow/codecs.py", {"codecs", "pillow"}),
        ("pillow/absent.c", {"pillow"}),
        ("pillow/imports.toml", set()),
        ("tflite/runtime/ops.cc", {"tflite", "wrapper"}),
        ("tflite/wrapper/quiet.cc", {"wrapper"}),
        ("xnnpack/build.py", {"xnnpack", "wrapper"}),
        ("xnnpack/kernels/dispatch.c", {"wrapper"}),
    ],
)
def test_a_change_compiles_the_steps_that_use_the_file(
    name: str, steps: set[str], checkout: Path, keys: Keys, before: dict[str, str]
) -> None:
    path = RECIPE / name
    text = path.read_text("utf-8") + CHANGES.get(path.suffix, "\n")
    assert changed_steps(checkout, keys, before, name, text) == {*steps, "key"}


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("pillow", {"src/pillow", "pillow"}),
        ("libwebp", {"src/libwebp", "codecs", "pillow"}),
        ("fxdiv", {"src/fxdiv", "xnnpack", "wrapper"}),
    ],
)
def test_another_source_file_compiles_what_uses_it(
    source: str, steps: set[str], checkout: Path, keys: Keys, before: dict[str, str]
) -> None:
    pin = read_pins("3.11")[source]
    name = f"{pin.folder}/pins.toml"
    text = (RECIPE / name).read_text("utf-8").replace(pin.sha256, "0" * 64)
    assert changed_steps(checkout, keys, before, name, text) == {*steps, "key"}


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
