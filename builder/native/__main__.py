"""The command that compiles: `python -m builder.native COMMAND`.

fetch, libraries, packages: the parts of a runtime, each with what it needs of those before.
kernels: compiles and runs the test program of our kernels. variants: interpreters to compare with.
"""

import argparse
import shutil
import sys
from pathlib import Path

from builder.base import files
from builder.base.errors import BuildError, run_main
from builder.native.sources import Sources
from builder.native.steps import Builder, say
from builder.native.target import OPS, python
from builder.native.toolchain import Toolchain

NEEDED = ("gcc", "g++", "nasm", "patch")


def parser() -> argparse.ArgumentParser:
    """The command line; each command does what those before it do, if that is to be done."""
    usage = argparse.ArgumentParser("python -m builder.native", description=__doc__)
    commands = usage.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="have every source, verified")
    libraries = commands.add_parser("libraries", help="what is the same for every Python")
    packages = commands.add_parser("packages", help="numpy, Pillow and TFLite for Pythons")
    variants = commands.add_parser("variants", help="interpreters for tests and benchmarks")
    kernels = commands.add_parser("kernels", help="test our kernels against plain C")
    for command in (fetch, libraries, packages, variants, kernels):
        command.add_argument("--build-dir", type=Path, required=True, help="keeps everything made")
        command.add_argument(
            "--sources", type=Path, action="append", default=[], metavar="DIR",
            help="look for source files here first, by their sha256",
        )  # fmt: skip
        command.add_argument("--jobs", type=int, default=2, help="compilers at once (2)")
    for command in (packages, variants):
        command.add_argument("--out", type=Path, required=True, help="gets cp311/numpy and so on")
        command.add_argument(
            "--python", action="append", metavar="PATH",
            help="an interpreter to build for; may be repeated (this one)",
        )  # fmt: skip
        command.add_argument(
            "--ops", choices=OPS, default=OPS[0], help="which TFLite ops (classifier)"
        )
    return usage


def main(options: argparse.Namespace) -> int:
    """Run a command; one at a time works in a build folder."""
    doing = f"compiling in {options.build_dir}"
    with files.lock(options.build_dir, doing, say, inherited=True):
        return run(options)


def run(options: argparse.Namespace) -> int:
    """Do what the command line says; imports no more of the recipe than that needs.

    In the container each command has a layer, which only the files that it imports take part in.

    Raises:
        BuildError: a program or a source is missing, or something does not compile.
    """
    toolchain = Toolchain(Builder(options.build_dir, options.jobs))
    if options.command == "fetch":
        Sources(toolchain, options.sources, "").fetch()
        return 0
    if options.command == "kernels":
        from builder.native.xnnpack import check

        say(toolchain.builder.run([str(check.build(toolchain.builder))], check.PROGRAM).strip())
        return 0
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        names = " ".join(missing)
        raise BuildError(f"not installed: {names}", f"Debian, Ubuntu: apt install {names}")
    if options.command == "libraries":
        from builder.native.pillow import codecs
        from builder.native.xnnpack import build as xnnpack

        sources = Sources(toolchain, options.sources, "")
        xnnpack.build(toolchain, sources)
        codecs.build(toolchain, sources)
        return 0
    if options.command == "variants":
        from builder.native.variants import export
    else:
        from builder.native.export import export
    for path in options.python or [sys.executable]:
        target = python(path)
        sources = Sources(toolchain, options.sources, target.minor)
        export(toolchain, sources, target, options.ops, options.out.resolve())
        say(f"exported to {options.out}")
    return 0


if __name__ == "__main__":
    options = parser().parse_args()
    sys.exit(run_main(lambda: main(options)))
