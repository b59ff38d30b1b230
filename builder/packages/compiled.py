"""Compiled packages: run the recipe in a container or on this machine, and cache the result.

The cache has a folder per hash of the recipe; every provider looks there first.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from builder.base import cpython, files
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.paths import BUILD, COMPILED, ROOT
from builder.base.processes import run_logged
from builder.base.variables import neutral_variables, pip_variables
from builder.native import COMPILED_PACKAGES
from builder.native.hashing import digest
from builder.native.steps import RECIPE
from builder.packages import Component, Runtime, RuntimeOptions, operator_versions, package_tag
from builder.packages.prune import select_shipped

DOCKERFILE = ROOT / "Dockerfile.builder"
# The build folder of `local`: what did not change is not compiled again.
WORK = BUILD / "native"
# The container engines in the order of choice. `ENGINE info` succeeds if it answers.
ENGINES = ("docker", "podman", "buildah")
PROBE_SECONDS = 10
# The file of a runtime that was compiled elsewhere: where it is from.
ORIGIN = "prebuilt.txt"


def container(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Return packages that were compiled in a container, compiling them if needed.

    Raises:
        BuildError: no engine answers, or the build failed.
    """
    if not is_cached(python, options):
        engine = options.engine or find_engine()
        if not engine:
            raise BuildError(
                f"--runtime container: expected one of {', '.join(ENGINES)} to answer, found none",
                "start or install one, or use --runtime local or --runtime wheels",
            )
        # The zip's packages are for x86_64, whatever this machine is.
        command = [engine, "bud" if Path(engine).name == "buildah" else "build"]
        command += ["--platform", "linux/amd64", "-f", str(DOCKERFILE)]
        for name, value in (("PYTHON", python), ("OPS", options.ops)):
            command += ["--build-arg", f"{name}={value}"]
        if options.sources:
            command += ["--build-context", f"sources={options.sources.resolve()}"]
        command += [*options.engine_arguments, "--output", "type=local,dest={out}", str(ROOT)]
        title = f"compiling in a container ({engine})"
        _compile(command, neutral_variables(), title, cache_folder(python, options), console)
    return load(python, options)


def local(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Return packages that were compiled on this machine, compiling them if needed.

    Raises:
        BuildError: the machine lacks something, or the build failed.
    """
    if not is_cached(python, options):
        found = cpython.find_python(python)
        if (sys.platform, platform.machine()) != ("linux", "x86_64") or not shutil.which("apt-get"):
            raise BuildError(
                "--runtime local: expected a Debian-like Linux on x86_64, found "
                f"{platform.platform()} {platform.machine()}",
                "use --runtime container or --runtime wheels",
            )
        if found is None:
            raise BuildError(
                f"--runtime local: expected Python {python} on this machine, found none",
                f"install python{python}-dev, or use --runtime container or --runtime wheels",
            )
        command = [sys.executable, "-m", "builder.native", "packages", "--build-dir", str(WORK)]
        command += ["--out", "{out}", "--python", found.path, "--ops", options.ops]
        if options.sources:
            command += ["--sources", str(options.sources.resolve())]
        variables = pip_variables([sys.executable, "-I", "-m", "pip"], ROOT)
        folder = cache_folder(python, options)
        _compile(command, variables, "compiling on this machine", folder, console)
    return load(python, options)


def find_engine() -> str:
    """Return the first container engine that answers; empty if none does."""
    for name in ENGINES:
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run([name, "info"], capture_output=True, timeout=PROBE_SECONDS)
            if done.returncode == 0:
                return name
    return ""


@cache
def recipe_key() -> str:
    """Return a hash of what decides the compiled packages: recipe and Dockerfile."""
    total = hashlib.sha256(DOCKERFILE.read_bytes())
    total.update(digest(RECIPE).encode())
    return total.hexdigest()[:12]


def cache_folder(python: str, options: RuntimeOptions) -> Path:
    """Return the folder of a Python version's compiled packages in the cache."""
    return COMPILED / f"{options.ops}-{recipe_key()}" / package_tag(python)


def is_cached(python: str, options: RuntimeOptions) -> bool:
    """Return whether packages of this recipe are in the cache."""
    return (cache_folder(python, options) / "recipe.json").exists()


def load(python: str, options: RuntimeOptions) -> Runtime:
    """Return the packages in the cache, with their provenance."""
    folder = cache_folder(python, options)
    note = folder / ORIGIN
    origin = note.read_text("utf-8").strip() if note.exists() else "compiled by this recipe"
    recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
    sources: dict[str, dict[str, str]] = recipe["sources"]
    components: list[Component] = []
    owner: dict[str, str] = {}
    for package in COMPILED_PACKAGES:
        parts = {
            source: _component(folder, source, pin)
            for source, pin in sources.items()
            if pin["package"] == package.module
        }
        main = parts.pop(package.source)
        made = f"{main.source}, compiled with {recipe['compiler']}"
        linked = tuple(parts.values())
        name = package.distribution
        components.append(replace(main, name=name, source=made, compiled=True, linked=linked))
        paths = _relative_files(folder, folder / package.module)
        owner |= dict.fromkeys(select_shipped(name, paths), name)
    operators = operator_versions.of_compiled(recipe["ops"])
    return Runtime(python, folder, tuple(components), owner, origin, operators)


def read_files(python: str, options: RuntimeOptions) -> dict[str, bytes]:
    """Return the files of the packages in the cache, by their paths, without their origin."""
    folder = cache_folder(python, options)
    paths = _relative_files(folder, folder)
    return {path: (folder / path).read_bytes() for path in paths if path != ORIGIN}


def store(folder: Path, contents: Mapping[str, bytes], origin: str, console: Console) -> None:
    """Put packages that were compiled elsewhere into a folder of the cache.

    Args:
        folder: of the cache.
        contents: path -> content of each file.
        origin: where they are from.
        console: told about waiting for another process.

    Raises:
        BuildError: they cannot be written.
    """
    lock = files.lock(folder, "unpacking compiled packages", console.note)
    with lock, files.temporary_folder(folder) as temporary:
        for name, content in {**contents, ORIGIN: f"{origin}\n".encode()}.items():
            path = temporary / "runtime" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        files.move_into_place(temporary / "runtime", folder)


def _relative_files(root: Path, folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [path.relative_to(root).as_posix() for path in paths if "__pycache__" not in path.parts]


def _compile(
    command: Sequence[str], variables: dict[str, str], title: str, folder: Path, console: Console
) -> None:
    """Run a command that leaves `cpXY/` in the folder "{out}", and cache that as `folder`.

    If another process compiles the same, wait for it and take its result.
    """
    log = BUILD / "logs" / f"compiled-{folder.parent.name}-{folder.name}.txt"
    with files.lock(folder, title, console.note):
        if (folder / "recipe.json").exists():
            return
        with files.temporary_folder(folder) as out:
            console.note(f"{title}: this takes 5 to 20 minutes the first time; the log is {log}")
            log.unlink(missing_ok=True)
            words = [word.replace("{out}", str(out)) for word in command]
            run_logged(words, title, log, _progress(console), ROOT, variables)
            console.status("")
            files.move_into_place(out / folder.name, folder)


def _progress(console: Console) -> Callable[[str], None]:
    """Return a function that shows the percentages and waits in a build's output."""
    began = time.monotonic()

    def show(line: str) -> None:
        if match := re.search(r"\S+: (?:\d+ %|done in \d+ s)$", line):
            console.status(f"{match[0]} ({time.monotonic() - began:.0f} s)")
        elif match := re.search(r"waiting: .*", line):
            console.status("")
            console.note(match[0])

    return show


def _component(folder: Path, source: str, pin: dict[str, str]) -> Component:
    """Return the provenance of a source archive."""
    text = (folder / "licences" / f"{source}.txt").read_text("utf-8", "replace")
    return Component(
        name=source,
        version=pin["version"],
        source=pin["file"],
        sha256=pin["sha256"],
        licence=pin["licence"],
        licence_texts=((source, text),),
        purl=pin["purl"],
        cpe=pin["cpe"],
    )
