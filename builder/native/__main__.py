"""The command line of the recipe: `python3 -m builder.native COMMAND`."""

import argparse
import shutil
import sys
from pathlib import Path

from builder.base import files
from builder.base.environments import print_progress
from builder.base.errors import BuildError, run_main
from builder.native import OPS
from builder.native.collect import collect
from builder.native.pillow import codecs
from builder.native.python import inspect_python
from builder.native.sources import Sources
from builder.native.steps import BuildFolder
from builder.native.toolchain import Toolchain
from builder.native.xnnpack import build as xnnpack
from builder.native.xnnpack import kernel_tests

PROGRAMS = ("gcc", "g++", "nasm", "patch")


def parser() -> argparse.ArgumentParser:
    """Return the parser; each command does what it needs of the others."""
    usage = argparse.ArgumentParser("python3 -m builder.native", description=__doc__)
    commands = usage.add_subparsers(dest="command", required=True)
    libraries = commands.add_parser("libraries", help="compile what is the same for every Python")
    packages = commands.add_parser("packages", help="compile numpy, Pillow and TFLite for Pythons")
    kernels = commands.add_parser("kernels", help="test our kernels against plain C")
    for command in (libraries, packages, kernels):
        add = command.add_argument
        add("--build-dir", type=Path, required=True, help="folder to build in; is kept")
        add(
            "--sources", type=Path, action="append", default=[], metavar="DIR",
            help="look for source files here first, by their sha256",
        )  # fmt: skip
        add("--jobs", type=int, default=2, help="compilers at once (2)")
    add = packages.add_argument
    add("--out", type=Path, required=True, help="folder for the result: cp311/numpy and so on")
    add("--python", action="append", metavar="PATH", help="Python to build for (this one); repeat")
    add("--ops", choices=OPS, default=OPS[0], help="which TFLite operators (classifier)")
    return usage


def main(options: argparse.Namespace) -> int:
    """Run a command; only one at a time works in a build folder."""
    title = f"compiling in {options.build_dir}"
    with files.lock(options.build_dir, title, print_progress, inherited=True):
        return run(options)


def run(options: argparse.Namespace) -> int:
    """Run a command.

    Raises:
        BuildError: a program or a source is missing, or something does not compile.
    """
    toolchain = Toolchain(BuildFolder(options.build_dir, options.jobs))
    if options.command == "kernels":
        program = str(kernel_tests.build(toolchain.folder))
        print_progress(toolchain.folder.run([program], kernel_tests.PROGRAM).strip())
        return 0
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        names = " ".join(missing)
        raise BuildError(f"not installed: {names}", f"Debian, Ubuntu: apt install {names}")
    if options.command == "libraries":
        sources = Sources(toolchain, options.sources, "")
        xnnpack.build(toolchain, sources)
        codecs.build(toolchain, sources)
        return 0
    for path in options.python or [sys.executable]:
        python = inspect_python(path)
        sources = Sources(toolchain, options.sources, python.minor)
        collect(toolchain, sources, python, options.ops, options.out.resolve())
        print_progress(f"{python.tag} is in {options.out}")
    return 0


if __name__ == "__main__":
    options = parser().parse_args()
    sys.exit(run_main(lambda: main(options)))
