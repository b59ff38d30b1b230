"""TFLite's runtime, once for all Pythons, and for each its module, linked with XNNPACK."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from builder.native.recipe import digest
from builder.native.sources import Sources
from builder.native.steps import HERE
from builder.native.target import Python
from builder.native.toolchain import Toolchain

FOLDER = HERE / "tflite"
KERNELS = HERE / "xnnpack" / "kernels"
_LEFT_OUT = (HERE / "xnnpack" / "absent.cmake", HERE / "xnnpack" / "absent.c")
_SHIPPED: Mapping[str, str] = MappingProxyType({})


def operators() -> list[str]:
    """The names of the operators in runtime/ops.cc."""
    text = (FOLDER / "runtime" / "ops.cc").read_text("utf-8")
    return re.findall(r"^ +X\((\w+), \w+, \d+\)", text, re.MULTILINE)


def build(toolchain: Toolchain, sources: Sources, ops: str) -> str:
    """Build the runtime as a static library; returns the key of the result.

    Raises:
        BuildError: a source is not to be had, or does not compile.
    """
    names = ["tensorflow", "flatbuffers", "gemmlowp", "eigen3", "fp16", "pthreadpool"]
    names += ["cpuinfo", "xnnpack", "farmhash", "oourafft"]
    inputs = [sources.unpack(name) for name in names]
    inputs += [*toolchain.inputs, digest(FOLDER / "runtime", Path(__file__)), ops]

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

    return toolchain.builder.step("tflite", inputs, work)


def wrapper(
    toolchain: Toolchain,
    sources: Sources,
    python: Python,
    ops: str,
    linked: list[str],
    libraries: Path,
    headers: Path,
    variant: str = "",
    options: Mapping[str, str] = _SHIPPED,
) -> Path:
    """Build the package `tflite_runtime` for a Python; returns its folder.

    Args:
        toolchain: runs the tools.
        sources: unpacks what it needs.
        python: to build for.
        ops: which operators, as `build` was told.
        linked: keys of the runtime, of XNNPACK and of numpy.
        libraries: folder with XNNPACK's static libraries.
        headers: folder with numpy's.
        variant: what to call an interpreter that is not to ship (`variants.VARIANTS`).
        options: its options, of xnnpack/kernels/kernels.cmake.

    Raises:
        BuildError: a source is not to be had, or does not compile.
    """
    inputs = [*linked, sources.unpack("pybind11"), *toolchain.module_inputs(), *python.inputs]
    inputs += [digest(FOLDER / "wrapper", *_LEFT_OUT, KERNELS, Path(__file__)), ops]
    inputs += [repr(sorted(options.items()))]
    name = f"{python.tag}/wrapper{variant and '-'}{variant}"

    def work(folder: Path) -> None:
        defines = {
            "SOURCES": str(sources.folder),
            "TFLITE": str(toolchain.builder.folder / "tflite"),
            "XNNPACK": str(libraries),
            "OPS": ops,
            "PYTHON_INCLUDE": python.include,
            "NUMPY_INCLUDE": str(headers),
            "SUFFIX": python.suffix,
            **toolchain.module_options(),
            **options,
        }
        toolchain.cmake(FOLDER / "wrapper", folder, name, defines)
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

    toolchain.builder.step(name, inputs, work)
    return toolchain.builder.folder / name / "tflite_runtime"
