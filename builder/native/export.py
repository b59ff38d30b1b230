"""Build all packages for a Python, and put what ships of them into one folder."""

import json
import shutil
from pathlib import Path
from typing import Any

from builder.errors import BuildError
from builder.native.numpy import build as numpy
from builder.native.pillow import build as pillow
from builder.native.pillow import codecs
from builder.native.recipe import lines
from builder.native.sources import Sources, pins
from builder.native.steps import HERE
from builder.native.target import Python
from builder.native.tflite import build as tflite
from builder.native.toolchain import Toolchain
from builder.native.xnnpack import build as xnnpack

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
    shutil.copyfile(numpy.FRONT, target / "numpy" / "__init__.py")
    _check(toolchain, python, target)
    used = {name: pin for name, pin in pins().items() if pin.get("ops", ops) == ops}
    (target / "licences").mkdir()
    for name in used:
        sources.unpack(name)
        (target / "licences" / f"{name}.txt").write_text(licence(sources.folder / name))
    facts: dict[str, Any] = {
        "python": python.version,
        "ops": ops,
        "operators": tflite.operators() if ops == "classifier" else None,
        "compiler": toolchain.compiler,
        "sources": used,
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


def _check(toolchain: Toolchain, python: Python, folder: Path) -> None:
    """Load every extension module: with `-z now`, that resolves every symbol."""
    modules = ["numpy", "tflite_runtime.interpreter", "PIL.Image", "PIL._webp"]
    code = f"import sys; sys.path[:0] = [{str(folder)!r}]; import {', '.join(modules)}"
    toolchain.run([python.path, "-I", "-S", "-B", "-c", code], f"{python.tag}/check")
