"""Virtual environments for the builder, its tests and tools, each made once. Standard library only.

`build_zip.py` runs on a bare Python. The packages that it needs are installed from a hash-pinned
requirements file into a virtual environment, which all checkouts of a user share. Its folder is
named after a hash of that file and of the Python. It is ready when all of it was installed; until
then the next call builds it again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from builder.base import files
from builder.base.errors import BuildError
from builder.base.files import Notify
from builder.base.package_index import run_pip
from builder.base.paths import ENVIRONMENTS, ROOT
from builder.base.processes import last_lines, run_command
from builder.base.variables import neutral_variables

# The file that marks an environment as complete: it has a hash of the modules that were installed,
# and its time is that of the last use.
READY = "ready"
UNUSED_DAYS = 30

# The running Python, or in a virtual environment the one that made it.
BASE_PYTHON: str = os.path.realpath(getattr(sys, "_base_executable", sys.executable))

# bump to rebuild all environments
_LAYOUT_VERSION = 2

# Names the environment, and the checkout, that a process was started in.
_ENTERED = "CLASSIFY_ENVIRONMENT"


def print_progress(text: str) -> None:
    """Print a line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def ensure_environment(
    name: str,
    requirements: Path,
    base: str = BASE_PYTHON,
    folder: Path = ENVIRONMENTS,
    notify: Notify = print_progress,
) -> Path:
    """Return the Python of the environment with these requirements, making it if needed.

    When one is made, those of the same name that were not used for 30 days are removed.

    Args:
        name: what the environment is for, part of its folder's name.
        requirements: a pip requirements file in which every line has hashes.
        base: the Python to make it with.
        folder: where environments are kept.
        notify: is called with lines of progress.

    Raises:
        BuildError: this Python has neither venv nor pip, pip failed, or the folder cannot be
            written.
    """
    files.check_owner(folder)
    home = environment_folder(name, requirements, base, folder)
    python = home / "bin" / "python"
    if _is_ready(home, python):
        return python
    with files.lock(home, f"preparing {home.name}", notify):
        if _is_ready(home, python):  # made by the process that held the lock
            return python
        notify(f"preparing {home.name} (once; from {requirements.name}) ...")
        try:
            files.remove(home)
            home.mkdir()
            pip = _create_environment(home, base, requirements, notify)
            _install_requirements(pip, requirements, home, notify)
            (home / READY).write_text(_hash_modules(home), "utf-8")
        except BaseException as error:
            shutil.rmtree(home, ignore_errors=True)
            if isinstance(error, OSError):
                raise files.write_error(home, error) from error
            raise
        _remove_unused_environments(name, folder)
    return python


def environment_folder(
    name: str, requirements: Path, base: str = BASE_PYTHON, folder: Path = ENVIRONMENTS
) -> Path:
    """Return the folder of an environment, whether it exists or not.

    The arguments are those of `ensure_environment`.
    """
    # A virtual environment's Python is a link to the one that made it.
    made_with = os.path.realpath(base)
    parts = [sys.version, sysconfig.get_platform(), made_with, str(folder), str(_LAYOUT_VERSION)]
    digest = hashlib.sha256("\n".join(parts).encode() + requirements.read_bytes())
    return folder / f"{name}-{digest.hexdigest()[:12]}"


def is_inside(name: str) -> bool:
    """Return whether `reexec` has started this process in the environment `name`."""
    return os.environ.get(_ENTERED) == f"{name}:{ROOT}"


def reexec(name: str, python: Path, command: Sequence[str]) -> NoReturn:
    """Replace this process with `python COMMAND...`, marked as inside the environment `name`."""
    sys.stdout.flush()
    sys.stderr.flush()
    marked = {**neutral_variables(), _ENTERED: f"{name}:{ROOT}"}
    os.execve(python, [str(python), *command], marked)


def enter_environment(name: str, requirements: Path, command: Sequence[str]) -> None:
    """Replace this process with `python COMMAND...` in an environment, unless it is there."""
    if not is_inside(name):
        reexec(name, ensure_environment(name, requirements), command)


def _is_ready(home: Path, python: Path) -> bool:
    try:
        if (home / READY).read_text("utf-8") != _hash_modules(home) or not python.exists():
            return False
    except OSError:
        return False
    with suppress(OSError):  # a cache that is read-only
        os.utime(home / READY)
    return True


def _hash_modules(home: Path) -> str:
    """Return a hash of the names and sizes of an environment's modules: their contents take 1 s."""
    digest = hashlib.sha256()
    for root, folders, names in os.walk(home / "lib"):
        folders.sort()
        for name in sorted(names):
            if name.endswith((".py", ".so", ".pth")):
                path = os.path.join(root, name)
                size = os.stat(path).st_size
                digest.update(f"{os.path.relpath(path, home)} {size}\n".encode())
    return digest.hexdigest()


def _remove_unused_environments(name: str, folder: Path) -> None:
    """Remove the environments of this name that were not used for UNUSED_DAYS."""
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for home in folder.glob(f"{name}-" + 12 * "[0-9a-f]"):
        with suppress(OSError):
            ready = home / READY
            if (ready if ready.exists() else home).stat().st_mtime < oldest:
                files.remove(home)


def _create_environment(home: Path, base: str, requirements: Path, notify: Notify) -> list[str]:
    """Make a virtual environment; return the command of a pip that installs into it.

    One whose requirements have a pip borrows another until then: making one with ensurepip takes
    longer than all the rest. Debian's python3 without python3-venv has no ensurepip.
    """
    notify("    making a virtual environment")
    python = str(home / "bin" / "python")
    ensurepip = [python, "-I", "-m", "ensurepip", "--default-pip"]
    # Not -I: it may be among the user's own packages. `--python` came with pip 22.3.
    borrowed = [base, "-m", "pip", "--python", python]
    ways = [(ensurepip, [python, "-I", "-m", "pip"]), ([*borrowed, "--version"], borrowed)]
    if re.search(r"^pip==", requirements.read_text("utf-8"), re.MULTILINE):
        ways.reverse()
    venv = [os.path.realpath(base), "-I", "-m", "venv", "--without-pip", str(home)]
    status, output = _try_command(venv, home)
    for command, pip in ways if status == 0 else ():
        status, output = _try_command(command, home)
        if status == 0:
            return pip
    raise BuildError(
        f"this Python ({base}) cannot make a virtual environment with pip:\n"
        + last_lines(output, 6),
        "install its venv module (Debian, Ubuntu: apt install python{}.{}-venv)".format(
            *sys.version_info
        ),
    )


def _install_requirements(
    pip: Sequence[str], requirements: Path, home: Path, notify: Notify
) -> None:
    """Install into an environment: the user's settings of pip count for what is downloaded only."""
    wheels = home / "wheels"
    wheels.mkdir()
    notify("    downloading packages")
    title = f"packages of {requirements.name}"
    run_pip([*pip, "wheel", "--wheel-dir", "."], requirements, wheels, title)
    notify("    installing packages")
    command = [*pip, "install", "--no-index", "--no-deps", "--disable-pip-version-check"]
    # Few of so many modules are imported: Python compiles those when they are.
    command += ["--no-warn-script-location", "--no-compile", *map(str, wheels.iterdir())]
    status, output = _try_command(command, home)
    if status:
        raise BuildError(f"pip could not install {requirements.name}:\n{last_lines(output)}")
    shutil.rmtree(wheels)


def _try_command(command: Sequence[str], cwd: Path) -> tuple[int, str]:
    """Run a command without the user's settings of pip; return its exit status and output."""
    variables = {**neutral_variables(), "PIP_CONFIG_FILE": os.devnull}
    return run_command(command, cwd=cwd, env=variables)
