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
from typing import Any

from packageurl import PackageURL

from builder.base import cpython, files
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.paths import BUILD, COMPILED, ROOT
from builder.base.processes import run_logged
from builder.base.variables import neutral_variables
from builder.native import COMPILED_PACKAGES, PackageName
from builder.native.hashing import digest
from builder.native.pins import read_pins
from builder.native.steps import RECIPE
from builder.packages import Component, Runtime, RuntimeOptions, operator_versions, package_tag
from builder.packages.prune import list_files, select_shipped

DOCKERFILE = ROOT / "Dockerfile.builder"
# The build folder of `local`: what did not change is not compiled again.
WORK = BUILD / "native"
# The container engines in the order of choice. `ENGINE info` succeeds if it answers.
ENGINES = ("docker", "podman", "buildah")
PROBE_SECONDS = 10
# The hashes of a runtime's files. It is written last: a folder that has it is complete.
HASHES = "SHA256SUMS"
RETRY = "or compile them (--runtime container, --runtime local), or take --runtime wheels"


def container(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Return packages that were compiled in a container, compiling them if needed.

    Raises:
        BuildError: no engine answers, or the build failed.
    """
    if not is_cached(python, options):
        engine = options.engine or find_engine()
        if not engine:
            raise BuildError(
                f"no container engine answers: expected one of {', '.join(ENGINES)}",
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
        try:
            _compile(command, title, python, options, console)
        except BuildError as error:
            if "short-name" in str(error):
                error.hint = (
                    "the engine knows no registry for short names such as python:3.11-bookworm: "
                    "add unqualified-search-registries to its registries.conf, or name the images "
                    "with --engine-arg=--build-arg=BASE=... and LIBRARIES_BASE=..."
                )
            raise
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
        _compile(command, "compiling on this machine", python, options, console)
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
    return (cache_folder(python, options) / HASHES).exists()


def load(python: str, options: RuntimeOptions) -> Runtime:
    """Return the packages in the cache, with their provenance.

    Raises:
        BuildError: they were changed since they were stored, or other users can change them.
    """
    folder = cache_folder(python, options)
    files.check_owner(COMPILED)
    if (folder / HASHES).read_text("utf-8") != hash_files(folder):
        raise BuildError(
            f"{folder}: expected the files that {HASHES} lists, found others",
            f"remove that folder: the packages are then made again, {RETRY}",
        )
    return _read_runtime(folder, python)


def _read_runtime(folder: Path, python: str) -> Runtime:
    """Read compiled packages; raise BuildError if their recipe.json is not the recipe's."""
    components: list[Component] = []
    owner: dict[str, str] = {}
    try:
        recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
        for package in COMPILED_PACKAGES:
            components.append(_read_package(folder, package, recipe, python))
            shipped = select_shipped(package.distribution, list_files(folder, package.module))
            if f"{package.module}/__init__.py" not in shipped:
                raise ValueError(f"no {package.module}/__init__.py")
            owner |= dict.fromkeys(shipped, package.distribution)
        operators = operator_versions.of_compiled(recipe["ops"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(
            f"compiled packages for Python {python}: expected what the recipe writes, found "
            f"another recipe.json, or files missing ({type(error).__name__}: {error})",
            f"export them again, {RETRY}",
        ) from error
    origin = "compiled by this recipe"
    return Runtime(python, folder, tuple(components), owner, origin, operators)


def _read_package(
    folder: Path, package: PackageName, recipe: dict[str, Any], python: str
) -> Component:
    """Return the provenance of a package, with the libraries that are linked into it."""
    parts = {
        source: _component(folder, source, pin, python)
        for source, pin in recipe["sources"].items()
        if pin["package"] == package.module
    }
    main = parts.pop(package.source)
    made = f"{main.source}, compiled with {recipe['compiler']}"
    linked = tuple(parts.values())
    return replace(main, name=package.distribution, source=made, compiled=True, linked=linked)


def read_files(python: str, options: RuntimeOptions) -> dict[str, bytes]:
    """Return the files of the packages in the cache, by their paths."""
    folder = cache_folder(python, options)
    return {path: (folder / path).read_bytes() for path in list_files(folder) if path != HASHES}


def store(
    python: str, options: RuntimeOptions, contents: Mapping[str, bytes], console: Console
) -> None:
    """Put packages compiled elsewhere into the cache; raise BuildError if they are not complete."""
    folder = cache_folder(python, options)
    lock = files.lock(folder, "unpacking compiled packages", console.note)
    with lock, files.temporary_folder(folder) as temporary:
        for name, content in contents.items():
            path = temporary / "runtime" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _keep(temporary / "runtime", folder, python)


def _keep(made: Path, folder: Path, python: str) -> None:
    """Move packages into the cache, with the hashes of their files, if they can be loaded."""
    _read_runtime(made, python)
    (made / HASHES).write_text(hash_files(made), "utf-8")
    files.move_into_place(made, folder)


def hash_files(folder: Path) -> str:
    """Return the sha256 of each file, as `sha256sum` writes them."""
    paths = [path for path in list_files(folder) if path != HASHES]
    return "".join(f"{files.sha256_of(folder / path)}  {path}\n" for path in paths)


def _compile(
    command: Sequence[str], title: str, python: str, options: RuntimeOptions, console: Console
) -> None:
    """Run a command that leaves `cpXY/` in the folder "{out}", and cache that.

    If another process compiles the same, wait for it and take its result.
    """
    folder = cache_folder(python, options)
    log = BUILD / "logs" / f"compiled-{folder.parent.name}-{folder.name}.txt"
    with files.lock(folder, title, console.note):
        if is_cached(python, options):
            return
        with files.temporary_folder(folder) as out:
            console.note(f"{title}: this takes 5 to 20 minutes the first time; the log is {log}")
            log.unlink(missing_ok=True)
            words = [word.replace("{out}", str(out)) for word in command]
            run_logged(words, title, log, _progress(console), ROOT, neutral_variables())
            console.status("")
            _keep(out / folder.name, folder, python)


def _progress(console: Console) -> Callable[[str], None]:
    """Return a function that shows the percentages and waits in a build's output."""
    began = time.monotonic()

    def show(line: str) -> None:
        if match := re.search(r"\S+: (?:\d+ %|done in \d+ s)$|waiting: .*", line):
            console.status(f"{match[0]} ({time.monotonic() - began:.0f} s)")

    return show


def _component(folder: Path, source: str, pin: dict[str, str], python: str) -> Component:
    """Return the provenance of a source archive."""
    text = (folder / "licences" / f"{source}.txt").read_text("utf-8", "replace")
    PackageURL.from_string(pin["purl"])  # raises ValueError
    known = read_pins(python).get(source)
    names = known.patches if known else ()
    patches = [f"builder/native/{known.folder}/patches/{name}" for name in names] if known else []
    return Component(
        name=source,
        version=pin["version"],
        source=pin["file"],
        sha256=pin["sha256"],
        licence=pin["licence"],
        licence_texts=((source, text),),
        purl=pin["purl"],
        cpe=pin["cpe"],
        patches=tuple(patches),
    )
