"""Build XNNPACK and what it needs as static libraries; the same for every Python."""

from pathlib import Path

from builder.native.sources import Sources
from builder.native.toolchain import C_FLAGS, FLAGS, Toolchain, change_sources

OPTIONS = {
    "CMAKE_C_FLAGS_RELEASE": "-O2 -DNDEBUG",
    "CMAKE_CXX_FLAGS_RELEASE": "-O2 -DNDEBUG",
    "XNNPACK_LIBRARY_TYPE": "static",
    "XNNPACK_BUILD_TESTS": "OFF",
    "XNNPACK_BUILD_BENCHMARKS": "OFF",
    "XNNPACK_BUILD_ALL_MICROKERNELS": "OFF",
    # No model of ours is sparse, and none computes in half precision.
    "XNNPACK_ENABLE_SPARSE": "OFF",
    "XNNPACK_ENABLE_AVX512FP16": "OFF",
}
# Families of kernels whose tables absent.cmake cuts from every link: half precision, weights of 4
# bits and dynamically quantized inputs, sparse models, functions that TFLite's delegate never uses.
_UNREACHED = (
    r"(^|/)src/(f16-[^/]*|[a-z0-9]+-f16-vcvt|qd8-[^/]*|f32-qc[48]w-gemm|f32-spmm|f32-conv-hwc2chw"
    r"|f32-dwconv2d-chw|f32-ibilinear-chw|f32-v(cmul|copysign|exp|gelu|log|rsqrt)"
    r"|x8-(packq|zip)|x16-packw|x32-zip|u8-(lut32norm|rmax))/"
)
DEPENDENCIES = ("cpuinfo", "pthreadpool", "fp16", "fxdiv")


def build(toolchain: Toolchain, sources: Sources) -> str:
    """Build the libraries into the folder `xnnpack`; return the key of this step."""
    keys = [sources.unpack(name) for name in ("xnnpack", *DEPENDENCIES)]
    options = {
        **OPTIONS,
        **change_sources("XNNPACK", "microkernels-prod", _UNREACHED, "ON"),
        "CMAKE_C_FLAGS": f"{C_FLAGS} {toolchain.flags}",
        "CMAKE_ASM_FLAGS": f"{C_FLAGS} {toolchain.flags}",
        "CMAKE_CXX_FLAGS": f"{FLAGS} -fvisibility-inlines-hidden -fno-exceptions -fno-rtti"
        f" {toolchain.flags}",
        **{f"{name.upper()}_SOURCE_DIR": str(sources.path(name)) for name in DEPENDENCIES},
    }

    def work(folder: Path) -> None:
        toolchain.cmake(sources.path("xnnpack"), folder, "xnnpack", options)

    return toolchain.folder.step("xnnpack", [*keys, *toolchain.inputs("xnnpack")], work)
