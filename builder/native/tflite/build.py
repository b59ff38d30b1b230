"""Build TFLite's runtime, the same for every Python, and for one Python the module that links it.

The package `tflite_runtime` is TFLite's Python interpreter with that module; XNNPACK and our
kernels are linked into it.
"""

import re
import shutil
from pathlib import Path

from builder.native.python import Python
from builder.native.sources import Sources
from builder.native.steps import RECIPE
from builder.native.toolchain import Toolchain

FOLDER = RECIPE / "tflite"
RUNTIME_SOURCES = (
    *("tensorflow", "flatbuffers", "gemmlowp", "eigen3", "fp16", "pthreadpool"),
    *("cpuinfo", "xnnpack", "farmhash", "oourafft"),
)


def registered_operators() -> dict[str, int]:
    """Return the operators that runtime/ops.cc registers, with their highest versions."""
    text = (FOLDER / "runtime" / "ops.cc").read_text("utf-8")
    found = re.findall(r"^ +X\((\w+), \w+, (\d+)\)", text, re.MULTILINE)
    return {name: int(version) for name, version in found}


def build(toolchain: Toolchain, sources: Sources, ops: str) -> str:
    """Build the runtime as a static library; return the key of this step."""
    keys = [sources.unpack(name) for name in RUNTIME_SOURCES]

    def work(folder: Path) -> None:
        options = {
            "SOURCES": str(sources.folder),
            "OPS": ops,
            "CMAKE_C_FLAGS": toolchain.flags,
            "CMAKE_CXX_FLAGS": toolchain.flags,
            "CMAKE_C_FLAGS_RELEASE": "",
            "CMAKE_CXX_FLAGS_RELEASE": "",
        }
        toolchain.cmake(FOLDER / "runtime", folder, "tflite", options)

    return toolchain.folder.step("tflite", [*keys, *toolchain.inputs("tflite"), ops], work)


def build_module(
    toolchain: Toolchain,
    sources: Sources,
    python: Python,
    ops: str,
    linked: list[str],
    numpy_headers: Path,
) -> Path:
    """Build the package `tflite_runtime` for a Python; return its folder.

    `linked` has the keys of the steps that built the runtime, XNNPACK and numpy.
    """
    inputs = [*linked, sources.unpack("pybind11"), *toolchain.inputs("tflite"), *python.inputs, ops]
    name = f"{python.tag}/wrapper"

    def work(folder: Path) -> None:
        options = {
            "SOURCES": str(sources.folder),
            "TFLITE": str(toolchain.folder.path / "tflite"),
            "XNNPACK": str(toolchain.folder.path / "xnnpack"),
            "OPS": ops,
            "PYTHON_INCLUDE": python.include,
            "NUMPY_INCLUDE": str(numpy_headers),
            "SUFFIX": python.suffix,
            **toolchain.module_options,
        }
        toolchain.cmake(FOLDER / "wrapper", folder, name, options)
        package = folder / "tflite_runtime"
        package.mkdir()
        for module in folder.glob("*.so"):
            shutil.copy(module, package)
        lite = sources.path("tensorflow") / "tensorflow" / "lite" / "python"
        shutil.copy(lite / "interpreter.py", package)
        for file in ("metrics_interface.py", "metrics_portable.py"):
            shutil.copy(lite / "metrics" / file, package)
        version = sources.pins["tensorflow"].version
        (package / "__init__.py").write_text(f'__version__ = "{version}"\n')

    toolchain.folder.step(name, inputs, work)
    return toolchain.folder.path / name / "tflite_runtime"
