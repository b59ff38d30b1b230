"""Build Pillow for one Python, with the codecs linked in."""

import shutil
from pathlib import Path

from builder.native.python import Python
from builder.native.sources import Sources
from builder.native.steps import RECIPE
from builder.native.toolchain import HARDENED, Toolchain


def build(toolchain: Toolchain, sources: Sources, python: Python, codecs: str) -> Path:
    """Build the package `PIL` with codecs, named by the key of their step; return its folder."""
    inputs = [codecs, *(sources.unpack(name) for name in ("pillow", "zlib"))]
    inputs += [*toolchain.inputs("pillow"), *python.inputs]
    name = f"{python.tag}/pillow"

    def work(folder: Path) -> None:
        options = {
            "PILLOW": str(sources.path("pillow")),
            "ZLIB": str(sources.path("zlib")),
            "VERSION": sources.pins["pillow"].version,
            "CODECS": str(toolchain.folder.path / "codecs"),
            "JPEG": str(sources.path("libjpeg-turbo")),
            "WEBP": str(sources.path("libwebp")),
            "HARDENED": HARDENED.replace(" ", ";"),
            "PYTHON_INCLUDE": python.include,
            "SUFFIX": python.suffix,
            **toolchain.module_options,
        }
        toolchain.cmake(RECIPE / "pillow", folder, name, options)
        shutil.copytree(sources.path("pillow") / "src" / "PIL", folder / "PIL")
        for module in folder.glob("*.so"):
            shutil.copy(module, folder / "PIL")

    toolchain.folder.step(name, inputs, work)
    return toolchain.folder.path / name / "PIL"
