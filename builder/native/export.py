"""Build all packages for a Python, and put what ships of them into one folder."""

import json
import shutil
from pathlib import Path
from typing import Any

from builder.base.errors import BuildError
from builder.native import imports
from builder.native.numpy import build as numpy
from builder.native.pillow import build as pillow
from builder.native.pillow import codecs
from builder.native.pins import Pin
from builder.native.recipe import lines, toml
from builder.native.rules import for_version
from builder.native.sources import Sources
from builder.native.steps import HERE
from builder.native.target import Python
from builder.native.tflite import build as tflite
from builder.native.toolchain import Toolchain
from builder.native.xnnpack import build as xnnpack

MAIN = {"numpy": "numpy", "pillow": "pillow", "tflite": "tensorflow"}
"""Folder of the recipe -> the source that the package is made of."""
STANDINS = HERE / "standins.py"
# Of a source, what says under which terms it is. Eigen also keeps the GPL's texts, for old code.
LICENCES: tuple[str, ...] = (
    "LICEN[CS]E*",
    "COPYING",
    "COPYING.[AB]*",
    "COPYING.M*",
    "PATENTS",
    "NOTICE*",
)
LICENCES += ("README.ijg", "readme.txt", "*.dist-info/LICENSE*")


def export(toolchain: Toolchain, sources: Sources, python: Python, ops: str, out: Path) -> None:
    """Build everything for a Python and put it into `out / cp311` or the like.

    Args:
        toolchain: runs the tools.
        sources: what is built.
        python: to build for.
        ops: which operators the interpreter has, of `target.OPS`.
        out: gets a folder of packages, their licences, and `recipe.json`, which says what they are.

    Raises:
        BuildError: something is missing or does not compile; names it.
    """
    built = build(toolchain, sources, python, ops)
    target = out / python.tag
    shutil.rmtree(target, ignore_errors=True)
    for folder, package in built.items():
        _ship(package, folder, target)
    for path, own in numpy.OWN.items():
        shutil.copyfile(own, target / "numpy" / path)
    for folder, package in built.items():
        _rewrite_imports(toolchain, sources, python, folder, target / package.name)
    _check(toolchain, python, target)
    used = [pin for pin in sources.pins.values() if pin.ops in ("", ops)]
    (target / "licences").mkdir()
    for pin in used:
        sources.unpack(pin.name)
        (target / "licences" / f"{pin.name}.txt").write_text(licence(sources.path(pin.name)))
    facts: dict[str, Any] = {
        "python": python.version,
        "ops": ops,
        "operators": tflite.operators() if ops == "classifier" else None,
        "compiler": toolchain.compiler,
        "sources": {pin.name: _origin(pin) for pin in used},
    }
    # Written last: a folder that has it is complete.
    (target / "recipe.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")


def build(toolchain: Toolchain, sources: Sources, python: Python, ops: str) -> dict[str, Path]:
    """Build every package; returns folder of the recipe -> the package as it was built.

    Raises:
        BuildError: something is missing or does not compile; names it.
    """
    kernels = xnnpack.build(toolchain, sources)
    libraries = codecs.build(toolchain, sources)
    runtime = tflite.build(toolchain, sources, ops)
    arrays, numpy_package = numpy.build(toolchain, sources, python)
    interpreter = tflite.wrapper(
        toolchain,
        sources,
        python,
        ops,
        [runtime, kernels, arrays],
        xnnpack.library(toolchain),
        numpy.headers(numpy_package),
    )
    pictures = pillow.build(toolchain, sources, python, libraries)
    return {"numpy": numpy_package, "pillow": pictures, "tflite": interpreter}


def _origin(pin: Pin) -> dict[str, str]:
    """What a runtime says of one of its sources."""
    names = ("version", "file", "sha256", "package", "licence", "purl", "cpe")
    return {name: getattr(pin, name) for name in names}


def licence(source: Path) -> str:
    """The licence texts of an unpacked source.

    Raises:
        BuildError: there is none.
    """
    files = sorted({path for pattern in LICENCES for path in source.glob(pattern)})
    if not files:
        raise BuildError(f"{source.name}: no licence text ({', '.join(LICENCES)})")
    texts = [path.read_text("utf-8", "replace").strip() for path in files]
    return "\n\n".join(texts) + "\n"


def _ship(package: Path, folder: str, target: Path) -> None:
    """Copy what `ships.txt` names of a package into the folder `target`.

    Args:
        package: the package's folder as it was built; its name is the package's.
        folder: of the recipe, that has the list.
        target: gets a folder of the package's name.

    Raises:
        BuildError: a pattern names nothing.
    """
    names = HERE / folder / "ships.txt"
    for pattern in lines(names.read_text("utf-8")):
        paths = [path for path in package.glob(pattern) if path.is_file()]
        if not paths:
            raise BuildError(
                f"{package.name}: expected {pattern}, found no such file",
                f"has a new version renamed it? The list is {names}",
            )
        for path in paths:
            to = target / package.name / path.relative_to(package)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)


def _rewrite_imports(
    toolchain: Toolchain, sources: Sources, python: Python, folder: str, package: Path
) -> None:
    """Apply the rules of `imports.toml` to the modules that ship.

    Raises:
        BuildError: a rule does not fit.
    """
    version = sources.pins[MAIN[folder]].version
    rules = for_version(toml(HERE / folder / "imports.toml"), version)
    if "._standins" in {to for rule in rules.values() for to in rule["instead"].values()}:
        shutil.copyfile(STANDINS, package / "_standins.py")
    command = [python.path, "-I", "-S", imports.__file__, str(package), json.dumps(rules)]
    toolchain.run(command, f"{python.tag}/imports")


def _check(toolchain: Toolchain, python: Python, folder: Path) -> None:
    """Load every extension module: with `-z now`, that resolves every symbol."""
    modules = ["numpy", "tflite_runtime.interpreter", "PIL.Image", "PIL._webp"]
    code = f"import sys; sys.path[:0] = [{str(folder)!r}]; import {', '.join(modules)}"
    toolchain.run([python.path, "-I", "-S", "-B", "-c", code], f"{python.tag}/check")
