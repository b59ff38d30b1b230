"""Build libjpeg-turbo and libwebp as static libraries; the same for every Python."""

from pathlib import Path

from builder.native.sources import Sources
from builder.native.toolchain import C_FLAGS, HARDENED, Toolchain, change_sources

# Samples of 12 and 16 bits, which absent.cmake cuts from the link; and most of what encodes.
_JPEG_UNREACHED = r"(^|/)(wrapper/[a-z0-9]+-(12|16)|src/jc(h|lh|ph)uff)\.c$"
JPEG_OPTIONS = {
    "CMAKE_C_FLAGS_RELEASE": "-O2 -DNDEBUG",
    "ENABLE_SHARED": "OFF",
    "WITH_TURBOJPEG": "OFF",
    "WITH_SIMD": "ON",
    "REQUIRE_SIMD": "ON",
    # No camera and no browser writes JPEGs with arithmetic coding.
    "WITH_ARITH_DEC": "OFF",
    "WITH_ARITH_ENC": "OFF",
    **change_sources("libjpeg-turbo", "jpeg-static", _JPEG_UNREACHED, "OFF"),
}
WEBP_OPTIONS = {"CMAKE_C_FLAGS_RELEASE": "-O2 -DNDEBUG", "WEBP_USE_THREAD": "OFF"}
_TARGETS = {"libjpeg-turbo": "jpeg-static", "libwebp": "webpdecoder"}


def build(toolchain: Toolchain, sources: Sources) -> str:
    """Build both libraries, each in its folder of `codecs`; return the key of this step."""
    projects = {"libjpeg-turbo": JPEG_OPTIONS, "libwebp": WEBP_OPTIONS}
    flags = {
        "CMAKE_C_FLAGS": f"{C_FLAGS} {HARDENED} {toolchain.flags}",
        "CMAKE_POSITION_INDEPENDENT_CODE": "ON",
        "BUILD_SHARED_LIBS": "OFF",
    }
    keys = [sources.unpack(name) for name in projects]

    def work(folder: Path) -> None:
        for name, options in projects.items():
            source, chosen = sources.path(name), {**flags, **options}
            toolchain.cmake(source, folder / name, f"codecs/{name}", chosen, _TARGETS[name])

    return toolchain.folder.step("codecs", [*keys, *toolchain.inputs("pillow")], work)
