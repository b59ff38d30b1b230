"""Build every package for a Python and collect what ships of them in one folder."""

import json
import shutil
from pathlib import Path
from typing import Any

from builder.base.errors import BuildError
from builder.base.toml import read_toml
from builder.native import COMPILED_PACKAGES, PackageName, imports
from builder.native.hashing import read_list
from builder.native.numpy import build as numpy
from builder.native.pillow import build as pillow
from builder.native.pillow import codecs
from builder.native.python import Python
from builder.native.sources import Sources
from builder.native.steps import RECIPE
from builder.native.tflite import build as tflite
from builder.native.toolchain import Toolchain
from builder.native.versions import rules_for_version
from builder.native.xnnpack import build as xnnpack

# The files of a source that have its licence. Eigen also keeps the GPL's texts, for old code.
LICENCES = (
    *("LICEN[CS]E*", "COPYING", "COPYING.[AB]*", "COPYING.M*", "PATENTS", "NOTICE*"),
    *("README.ijg", "readme.txt", "*.dist-info/LICENSE*"),
)
# What recipe.json has of each source.
FACTS = ("version", "file", "sha256", "package", "licence", "purl", "cpe")


def collect(toolchain: Toolchain, sources: Sources, python: Python, ops: str, out: Path) -> None:
    """Build everything for a Python and collect it in a folder of `out`, as `cp311`.

    Args:
        toolchain: runs the build tools.
        sources: of the packages.
        python: to build for.
        ops: the operators of the interpreter, one of `native.OPS`.
        out: gets the folder: packages, licences, and `recipe.json` with their provenance.

    Raises:
        BuildError: something is missing or does not compile.
    """
    built = build_packages(toolchain, sources, python, ops)
    destination = out / python.tag
    shutil.rmtree(destination, ignore_errors=True)
    for package in COMPILED_PACKAGES:
        _copy_shipped(built[package.folder], package, destination / package.module)
    for path, own in numpy.REPLACED.items():
        shutil.copyfile(own, destination / "numpy" / path)
    for package in COMPILED_PACKAGES:
        _rewrite_imports(toolchain, sources, python, package, destination / package.module)
    _import_all(toolchain, python, destination)
    used = [pin for pin in sources.pins.values() if pin.ops in ("", ops)]
    (destination / "licences").mkdir()
    for pin in used:
        sources.unpack(pin.name)
        text = read_licences(sources.path(pin.name))
        (destination / "licences" / f"{pin.name}.txt").write_text(text)
    facts: dict[str, Any] = {
        "python": python.version,
        "ops": ops,
        "compiler": toolchain.compiler,
        "sources": {pin.name: {name: getattr(pin, name) for name in FACTS} for pin in used},
    }
    # Written last: a folder that has it is complete.
    (destination / "recipe.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")


def build_packages(
    toolchain: Toolchain, sources: Sources, python: Python, ops: str
) -> dict[str, Path]:
    """Build every package; return the recipe's folder -> the package as it was built."""
    kernels = xnnpack.build(toolchain, sources)
    libraries = codecs.build(toolchain, sources)
    runtime = tflite.build(toolchain, sources, ops)
    arrays, numpy_package = numpy.build(toolchain, sources, python)
    keys = [runtime, kernels, arrays]
    headers = numpy_package / "_core" / "include"
    return {
        "numpy": numpy_package,
        "pillow": pillow.build(toolchain, sources, python, libraries),
        "tflite": tflite.build_module(toolchain, sources, python, ops, keys, headers),
    }


def read_licences(source: Path) -> str:
    """Return the licence texts of an extracted source."""
    files = sorted({path for pattern in LICENCES for path in source.glob(pattern)})
    if not files:
        raise BuildError(f"{source.name}: no licence text ({', '.join(LICENCES)})")
    texts = [path.read_text("utf-8", "replace").strip() for path in files]
    return "\n\n".join(texts) + "\n"


def _copy_shipped(built: Path, package: PackageName, destination: Path) -> None:
    """Copy the files of a package that its `ships.txt` names."""
    ships = RECIPE / package.folder / "ships.txt"
    for pattern in read_list(ships):
        paths = [path for path in built.glob(pattern) if path.is_file()]
        if not paths:
            raise BuildError(
                f"{package.module}: expected {pattern}, found no such file",
                f"has a new version renamed it? The list is {ships}",
            )
        for path in paths:
            copy = destination / path.relative_to(built)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _rewrite_imports(
    toolchain: Toolchain, sources: Sources, python: Python, package: PackageName, folder: Path
) -> None:
    """Apply the rules of `imports.toml` to the modules of a package."""
    version = sources.pins[package.source].version
    rules = rules_for_version(read_toml(RECIPE / package.folder / "imports.toml"), version)
    if "._standins" in {other for rule in rules.values() for other in rule["instead"].values()}:
        shutil.copyfile(RECIPE / "standins.py", folder / "_standins.py")
    command = [python.path, "-I", "-S", imports.__file__, str(folder), json.dumps(rules)]
    toolchain.run(command, f"{python.tag}/imports")


def _import_all(toolchain: Toolchain, python: Python, folder: Path) -> None:
    """Import every extension module: with `-z now`, that resolves every symbol."""
    modules = ["numpy", "tflite_runtime.interpreter", "PIL.Image", "PIL._webp"]
    code = f"import sys; sys.path[:0] = [{str(folder)!r}]; import {', '.join(modules)}"
    toolchain.run([python.path, "-I", "-S", "-B", "-c", code], f"{python.tag}/check")
