"""What no Python version and none of our code touches: XNNPACK and Pillow's codecs.

The longest part of the build, in a command of its own: a container keeps it as a layer.
"""

import sys
from pathlib import Path

from sources import Sources, arguments, tools
from steps import HERE, Builder, RecipeError

FLAGS = "-fPIC -fvisibility=hidden -ffunction-sections -fdata-sections"
C_FLAGS = f"{FLAGS} -fno-asynchronous-unwind-tables -fno-unwind-tables"
"""For C that nothing is ever thrown through."""

XNNPACK_OPTIONS = {
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
JPEG_OPTIONS = {
    "CMAKE_C_FLAGS_RELEASE": "-O2 -DNDEBUG",
    "ENABLE_SHARED": "OFF",
    "WITH_TURBOJPEG": "OFF",
    "WITH_SIMD": "ON",
    "REQUIRE_SIMD": "ON",
}
WEBP_OPTIONS = {
    "CMAKE_C_FLAGS_RELEASE": "-O2 -DNDEBUG",
    **{f"WEBP_BUILD_{tool}": "OFF" for tool in ("ANIM_UTILS", "CWEBP", "DWEBP", "GIF2WEBP")},
    **{f"WEBP_BUILD_{tool}": "OFF" for tool in ("IMG2WEBP", "VWEBP", "WEBPINFO", "WEBPMUX")},
    "WEBP_BUILD_EXTRAS": "OFF",
    "WEBP_USE_THREAD": "OFF",
}


def xnnpack(builder: Builder, sources: Sources) -> str:
    """XNNPACK with all that it needs, as static libraries below `xnnpack`; returns its key."""
    names = ("xnnpack", "cpuinfo", "pthreadpool", "fp16", "fxdiv")
    inputs = [sources.unpack(name) for name in names]
    options = {
        **XNNPACK_OPTIONS,
        "CMAKE_C_FLAGS": f"{C_FLAGS} {builder.prefix_maps()}",
        "CMAKE_ASM_FLAGS": f"{C_FLAGS} {builder.prefix_maps()}",
        "CMAKE_CXX_FLAGS": f"{FLAGS} -fvisibility-inlines-hidden -fno-exceptions -fno-rtti"
        f" {builder.prefix_maps()}",
        **{f"{name.upper()}_SOURCE_DIR": str(sources.folder / name) for name in names[1:]},
    }
    inputs += [tools(builder), builder.compiler(), _portable(builder, options)]

    def work(folder: Path) -> None:
        builder.cmake(sources.folder / "xnnpack", folder, "xnnpack", options)

    return builder.step("xnnpack", inputs, work)


def codecs(builder: Builder, sources: Sources) -> str:
    """libjpeg-turbo and libwebp, installed below `codecs`; returns their key."""
    projects = {"libjpeg-turbo": JPEG_OPTIONS, "libwebp": WEBP_OPTIONS}
    inputs = [sources.unpack(name) for name in projects]
    flags = {
        "CMAKE_C_FLAGS": f"{C_FLAGS} {builder.prefix_maps()}",
        "CMAKE_INSTALL_LIBDIR:PATH": "lib",
        "CMAKE_POSITION_INDEPENDENT_CODE": "ON",
        "BUILD_SHARED_LIBS": "OFF",
    }
    every = {key: value for options in projects.values() for key, value in options.items()}
    inputs += [tools(builder), builder.compiler(), _portable(builder, {**flags, **every})]

    def work(folder: Path) -> None:
        for name, options in projects.items():
            made = folder / "build" / name
            builder.cmake(
                sources.folder / name,
                made,
                f"codecs/{name}",
                {**flags, **options, "CMAKE_INSTALL_PREFIX": str(folder)},
            )
            builder.run(["cmake", "--install", str(made)], f"codecs/{name}")

    return builder.step("codecs", inputs, work)


def _portable(builder: Builder, options: dict[str, str]) -> str:
    """Options as an input of a step: the same wherever the build folder and the recipe are."""
    text = repr(sorted(options.items()))
    return text.replace(str(builder.folder), "BUILD").replace(str(HERE), "RECIPE")


def main() -> int:
    """Build the libraries."""
    options = arguments(__doc__ or "").parse_args()
    try:
        builder = Builder(options.build_dir, options.jobs)
        sources = Sources(builder, options.sources)
        xnnpack(builder, sources)
        codecs(builder, sources)
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
