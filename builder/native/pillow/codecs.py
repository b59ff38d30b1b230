"""Build libjpeg-turbo and libwebp as static libraries; the same for every Python."""

from pathlib import Path

from builder.native.hashing import digest
from builder.native.sources import Sources
from builder.native.toolchain import C_FLAGS, Toolchain

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


def build(toolchain: Toolchain, sources: Sources) -> str:
    """Build both libraries into the folder `codecs`; return the key of this step."""
    projects = {"libjpeg-turbo": JPEG_OPTIONS, "libwebp": WEBP_OPTIONS}
    flags = {
        "CMAKE_C_FLAGS": f"{C_FLAGS} {toolchain.flags}",
        "CMAKE_INSTALL_LIBDIR:PATH": "lib",
        "CMAKE_POSITION_INDEPENDENT_CODE": "ON",
        "BUILD_SHARED_LIBS": "OFF",
    }
    inputs = [sources.unpack(name) for name in projects]
    inputs += [*toolchain.inputs, toolchain.portable(flags), digest(Path(__file__))]

    def work(folder: Path) -> None:
        for name, options in projects.items():
            build = folder / "build" / name
            chosen = {**flags, **options, "CMAKE_INSTALL_PREFIX": str(folder)}
            toolchain.cmake(sources.path(name), build, f"codecs/{name}", chosen)
            toolchain.run(["cmake", "--install", str(build)], f"codecs/{name}")

    return toolchain.folder.step("codecs", inputs, work)
