"""Interpreters for tests and benchmarks: XNNPACK's own kernels, or the choice for an older CPU.

    python -m builder.native variants --build-dir build/native --out build/variants

leaves, for each of `VARIANTS`, `build/variants/cp311/NAME/tflite_runtime`, to be put on the path
before the packages of a runtime (it needs their numpy). What ships contains none of this, and reads
no environment variable: another table of kernels is another module. On a CPU with VNNI `avx2`
against `xnnpack-avx2` shows what our kernels are worth where there is none.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from builder.native.numpy import build as numpy
from builder.native.recipe import digest
from builder.native.sources import Sources
from builder.native.steps import HERE
from builder.native.target import Python
from builder.native.tflite import build as tflite
from builder.native.toolchain import Toolchain
from builder.native.xnnpack import build as xnnpack

VARIANTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "xnnpack": {"KERNELS": "xnnpack"},
        "avx2": {"CPU": "avx2"},
        "xnnpack-avx2": {"KERNELS": "xnnpack", "CPU": "avx2"},
        "avx512": {"CPU": "avx512"},
        "xnnpack-avx512": {"KERNELS": "xnnpack", "CPU": "avx512"},
    }
)
"""What to call a variant -> options of xnnpack/kernels/kernels.cmake.

xnnpack: XNNPACK's own kernels, chosen by the CPU as they always were. avx2: our kernels, as on a
CPU with AVX2 and nothing newer. xnnpack-avx2: XNNPACK's own on such a CPU. avx512 and
xnnpack-avx512: the same for AVX512 without VNNI; on a CPU without AVX512 as avx2.
"""

RECIPE = "recipe.txt"
"""Beside the variants: the digest of the recipe that made them."""


def export(toolchain: Toolchain, sources: Sources, python: Python, ops: str, out: Path) -> None:
    """Build every variant for a Python into `out / cp311 / NAME` or the like.

    Args:
        toolchain: runs the tools.
        sources: what is built.
        python: to build for.
        ops: which operators the interpreters have, of `target.OPS`.
        out: gets the folders; those of other variants are left alone.

    Raises:
        BuildError: something is missing or does not compile; names it.
    """
    kernels = xnnpack.build(toolchain, sources)
    runtime = tflite.build(toolchain, sources, ops)
    arrays, numpy_package = numpy.build(toolchain, sources, python)
    for name, options in VARIANTS.items():
        package = tflite.wrapper(
            toolchain,
            sources,
            python,
            ops,
            [runtime, kernels, arrays],
            xnnpack.library(toolchain),
            numpy.headers(numpy_package),
            variant=name,
            options=options,
        )
        target = out / python.tag / name / "tflite_runtime"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(package, target)
    (out / python.tag / RECIPE).write_text(digest(HERE) + "\n")
