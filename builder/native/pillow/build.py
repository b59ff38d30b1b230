"""Pillow for one Python, with the codecs linked in."""

import shutil
from pathlib import Path

from builder.native.recipe import digest
from builder.native.sources import Sources
from builder.native.steps import HERE
from builder.native.target import Python
from builder.native.toolchain import Toolchain

FOLDER = HERE / "pillow"


def build(toolchain: Toolchain, sources: Sources, python: Python, codecs: str) -> Path:
    """Build the package `PIL` for a Python; returns its folder.

    Args:
        toolchain: runs the tools.
        sources: unpacks what it needs.
        python: to build for.
        codecs: key of what `codecs.build` has built.

    Raises:
        BuildError: a source is not to be had, or does not compile.
    """
    inputs = [codecs, *(sources.unpack(name) for name in ("pillow", "zlib"))]
    inputs += [*toolchain.module_inputs(), *python.inputs, digest(*_recipe())]
    name = f"{python.tag}/pillow"

    def work(folder: Path) -> None:
        options = {
            "PILLOW": str(sources.path("pillow")),
            "ZLIB": str(sources.path("zlib")),
            "VERSION": sources.pins["pillow"].version,
            "CODECS": str(toolchain.builder.folder / "codecs"),
            "PYTHON_INCLUDE": python.include,
            "SUFFIX": python.suffix,
            **toolchain.module_options(),
        }
        toolchain.cmake(FOLDER, folder, name, options)
        shutil.copytree(sources.path("pillow") / "src" / "PIL", folder / "PIL")
        for module in folder.glob("*.so"):
            shutil.copy(module, folder / "PIL")

    toolchain.builder.step(name, inputs, work)
    return toolchain.builder.folder / name / "PIL"


def _recipe() -> list[Path]:
    files = ("CMakeLists.txt", "absent.c", "absent.cmake")
    return [Path(__file__), *(FOLDER / file for file in files)]
