"""The compiled providers: the recipe in `native/`, run in a container or on this machine.

A finished runtime is kept under a hash of the recipe, and taken from there by every provider.
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
from dataclasses import replace
from functools import cache
from pathlib import Path

from builder.base import cpython, files
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.paths import BUILD, BUILDER, COMPILED, ROOT
from builder.base.processes import run_logged
from builder.base.variables import neutral_variables, pip_variables
from builder.native import COMPILED_PACKAGES
from builder.native.hashing import digest
from builder.packages import (
    Component,
    Runtime,
    RuntimeOptions,
    operator_versions,
    package_tag,
    wheels,
)
from builder.packages.prune import select

NATIVE = BUILDER / "native"
DOCKERFILE = ROOT / "Dockerfile.builder"
ORIGIN = "prebuilt.txt"
"""In a runtime that was compiled elsewhere: where it is from."""
WORK = BUILD / "native"
"""Where `local` compiles; what did not change is not compiled again."""

ENGINES = {
    "docker": ["docker", "info"],
    "podman": ["podman", "info"],
    "buildah": ["buildah", "info"],
}
"""Container engines in the order of choice, with a command that succeeds if they answer."""

PROBE_SECONDS = 10
BEFORE = "compiled before, by this recipe"


def auto(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """A compiled runtime that is there, else one from a container engine, else wheels."""
    if is_cached(python, options):
        return load(python, options)
    engine = options.engine or find_engine()
    if engine:
        try:
            return container(python, replace(options, engine=engine), console)
        except BuildError as error:
            console.warn(f"{error}\n{error.hint}")
            reason = f"{engine} could not build Dockerfile.builder"
    else:
        reason = f"no container engine answers ({', '.join(ENGINES)})"
    console.note(f"{reason}: using ready-made wheels")
    console.reminders.append(
        "built from ready-made wheels: compiled packages make the zip a fifth of the size, and "
        "quicker to start (--runtime container, or local)"
    )
    return wheels.provide(python, options, console)


def container(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Compile in a container.

    Raises:
        BuildError: no engine answers, or it failed.
    """
    if is_cached(python, options):
        return load(python, options)
    engine = options.engine or find_engine()
    if not engine:
        raise BuildError(
            f"--runtime container: expected one of {', '.join(ENGINES)} to answer, found none",
            "start or install one, or use --runtime local or --runtime wheels",
        )
    build = ["bud"] if Path(engine).name == "buildah" else ["build"]
    target = cache_folder(python, options)
    # The zip's packages are for x86_64, whatever this machine is.
    command = [engine, *build, "--platform", "linux/amd64", "-f", str(DOCKERFILE)]
    for name, value in (("PYTHON", python), ("OPS", options.ops)):
        command += ["--build-arg", f"{name}={value}"]
    if options.sources:
        command += ["--build-context", f"sources={options.sources.resolve()}"]
    command += [*options.engine_arguments, "--output", "type=local,dest={out}", str(ROOT)]
    title = f"compiling in a container ({engine})"
    made = _run(command, neutral_variables(), title, target, console)
    return _runtime(python, target, f"compiled with {engine}" if made else BEFORE)


def local(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Compile on this machine, in a folder under `build/`.

    Raises:
        BuildError: the machine lacks something (says what), or the build failed.
    """
    if is_cached(python, options):
        return load(python, options)
    interpreter = cpython.find_python(python)
    if (sys.platform, platform.machine()) != ("linux", "x86_64") or not shutil.which("apt-get"):
        raise BuildError(
            "--runtime local: expected a Debian-like Linux on x86_64, found "
            f"{platform.platform()} {platform.machine()}",
            "use --runtime container or --runtime wheels",
        )
    if interpreter is None:
        raise BuildError(
            f"--runtime local: expected Python {python} on this machine, found none",
            f"install it with its headers (apt install python{python}-dev), or use another runtime",
        )
    target = cache_folder(python, options)
    command = [sys.executable, "-m", "builder.native", "packages", "--build-dir", str(WORK)]
    command += ["--out", "{out}", "--python", interpreter.path, "--ops", options.ops]
    if options.sources:
        command += ["--sources", str(options.sources.resolve())]
    settings = pip_variables([sys.executable, "-I", "-m", "pip"], ROOT)
    made = _run(command, settings, "compiling on this machine", target, console, ROOT)
    return _runtime(python, target, "compiled on this machine" if made else BEFORE)


def find_engine() -> str:
    """The first container engine that answers; empty if none does."""
    for name, probe in ENGINES.items():
        if not shutil.which(name):
            continue
        try:
            done = subprocess.run(probe, capture_output=True, timeout=PROBE_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return name
    return ""


@cache
def recipe_key() -> str:
    """A hash of everything that decides what is compiled: the recipe and the container's file."""
    total = hashlib.sha256(DOCKERFILE.read_bytes())
    total.update(digest(NATIVE).encode())
    return total.hexdigest()[:12]


def cache_folder(python: str, options: RuntimeOptions) -> Path:
    """Where the finished runtime of a Python version is kept, if there is one."""
    return COMPILED / f"{options.ops}-{recipe_key()}" / package_tag(python)


def is_cached(python: str, options: RuntimeOptions) -> bool:
    """Whether a runtime was compiled by this recipe and is still there."""
    return _is_whole(cache_folder(python, options))


def load(python: str, options: RuntimeOptions) -> Runtime:
    """The finished runtime that is there; it was compiled here, or elsewhere by the same recipe."""
    target = cache_folder(python, options)
    elsewhere = target / ORIGIN
    origin = elsewhere.read_text("utf-8").strip() if elsewhere.exists() else BEFORE
    return _runtime(python, target, origin)


def store(
    python: str,
    options: RuntimeOptions,
    contents: Mapping[str, bytes],
    origin: str,
    console: Console,
) -> None:
    """Keep a runtime that was compiled elsewhere, as if this machine had compiled it.

    Args:
        python: its version.
        options: its operators.
        contents: path in the runtime's folder -> content.
        origin: where it is from.
        console: told about waiting for another process.

    Raises:
        BuildError: it cannot be written.
    """
    target = cache_folder(python, options)
    lock = files.lock(target, "unpacking compiled packages", console.note)
    with lock, files.temporary_folder(target) as part:
        for name, content in {**contents, ORIGIN: f"{origin}\n".encode()}.items():
            path = part / "runtime" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        files.move_into_place(part / "runtime", target)


def _is_whole(target: Path) -> bool:
    return (target / "recipe.json").exists()


def _run(
    command: Sequence[str],
    env: dict[str, str],
    title: str,
    target: Path,
    console: Console,
    cwd: Path | None = None,
) -> bool:
    """Run a build that leaves `cpXY/` in the folder "{out}", and move that to `target`.

    Waits while another process does the same, and takes what that one made: False is returned.
    """
    log = BUILD / "logs" / f"compiled-{target.parent.name}-{target.name}.txt"
    with files.lock(target, title, console.note):
        if _is_whole(target):
            return False
        with files.temporary_folder(target) as out:
            console.note(f"{title}: this takes 5 to 20 minutes the first time; the log is {log}")
            log.unlink(missing_ok=True)
            full = [word.replace("{out}", str(out)) for word in command]
            run_logged(full, title, log, _progress(console), cwd, env)
            console.status("")
            files.move_into_place(out / target.name, target)
    return True


def _progress(console: Console) -> Callable[[str], None]:
    """Shows a build's percentages, and what it waits for, of its lines."""
    began = time.monotonic()

    def follow(line: str) -> None:
        if match := re.search(r"\S+: (?:\d+ %|done in \d+ s)$", line):
            console.status(f"{match[0]} ({time.monotonic() - began:.0f} s)")
        elif match := re.search(r"waiting: .*", line):
            console.status("")
            console.note(match[0])

    return follow


def _runtime(python: str, folder: Path, origin: str) -> Runtime:
    """A finished runtime, with its provenance."""
    recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
    sources: dict[str, dict[str, str]] = recipe["sources"]
    components: list[Component] = []
    owner: dict[str, str] = {}
    for package in COMPILED_PACKAGES:
        linked = tuple(
            _source_component(folder, other, other, pin)
            for other, pin in sources.items()
            if pin["package"] == package.module and other != package.source
        )
        own = _source_component(
            folder, package.distribution, package.source, sources[package.source]
        )
        made = f"{own.source}, compiled with {recipe['compiler']}"
        components.append(replace(own, source=made, compiled=True, linked=linked))
        files = [
            path.relative_to(folder).as_posix()
            for path in (folder / package.module).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        ]
        owner |= dict.fromkeys(select(package.distribution, files), package.distribution)
    operators = operator_versions.of_compiled(recipe["ops"])
    return Runtime(python, folder, tuple(components), owner, origin, operators)


def _source_component(folder: Path, name: str, source: str, pin: dict[str, str]) -> Component:
    """The provenance of one source archive, under the name of what it became."""
    text = (folder / "licences" / f"{source}.txt").read_text("utf-8", "replace")
    return Component(
        name,
        pin["version"],
        pin["file"],
        pin["sha256"],
        pin["licence"],
        ((source, text),),
        purl=pin["purl"],
        cpe=pin["cpe"],
    )
