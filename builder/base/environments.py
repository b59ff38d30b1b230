"""Environments for the tool and its tests, prepared once. Standard library only.

`build_zip.py` runs on a bare Python; what it needs is installed from a hash-pinned requirements
file into a virtual environment, named after a hash of that file and of the Python, which all
checkouts of a user share. It is ready when all that was asked for could be imported from it; until
then it is made anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.base import files
from builder.base.errors import BuildError
from builder.base.files import Notify
from builder.base.paths import ENVIRONMENTS, ROOT
from builder.base.variables import neutral_variables, pip_variables, without_pip_settings

MINIMUM = (3, 10)
READY = "ready"
"""The file that marks an environment as whole."""

BASE_PYTHON: str = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
"""The running interpreter, or, in a virtual environment, the one that it was made with."""

_FORM = 2
"""Of these environments; another number makes all of them anew."""

_IMPORT_ALL = """\
import importlib, importlib.metadata, re, sys
for name in sorted(sys.argv[1:], key=lambda name: name != "setuptools"):  # else pip is in its way
    found = importlib.metadata.distribution(name)
    if not str(found.locate_file("")).startswith(sys.prefix):
        sys.exit(f"{name}: expected in {sys.prefix}, found in {found.locate_file('')}")
    # x.so is a library, as atheris has them; a module is x.cpython-311-x86_64-linux-gnu.so
    tops = {str(path).split("/")[0].split(".")[0] for path in found.files or () if path.suffix ==
            ".py" or path.suffix in (".so", ".pyd") and "." in path.stem}
    for top in sorted(top for top in tops if re.match(r"[A-Za-z]\\w*$", top)):
        if top not in ("setup", "tests", "test", "docs", "examples"):
            importlib.import_module(top)
"""


def print_progress(text: str) -> None:
    """Print a line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)


# Names the environment, and the checkout, that a process was started in.
_ENTERED = "CLASSIFY_ENVIRONMENT"


def ensure_environment(
    name: str,
    requirements: Path,
    base: str = BASE_PYTHON,
    folder: Path = ENVIRONMENTS,
    notify: Notify = print_progress,
) -> Path:
    """The interpreter of the environment that holds `requirements`; makes it if it is not there.

    Args:
        name: what the environment is for, part of its folder's name.
        requirements: a pip requirements file in which every line has hashes; beside it is the
            `.in` file that it was made from.
        base: the interpreter to make it with.
        folder: where environments are kept.
        notify: told what is going on.

    Raises:
        BuildError: this Python is too old, has no venv or pip, pip failed, or the folder cannot be
            written.
    """
    if sys.version_info < MINIMUM:
        raise BuildError(
            "expected Python {}.{} or newer, found {}.{}".format(*MINIMUM, *sys.version_info),
            "run this command with a newer interpreter, for example python3.11",
        )
    home = environment_folder(name, requirements, base, folder)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if _is_ready(home, python):
        return python
    with files.lock(home, f"preparing {home.name}", notify):
        if _is_ready(home, python):  # the one that we waited for made it
            return python
        notify(f"preparing {home.name} (once; from {requirements.name}) ...")
        try:
            files.remove(home)
            home.mkdir()
            has_pip = _pinned_pip(requirements) is not None
            pip = _create(home, python, os.path.realpath(base), has_pip, notify)
            installed = _install(pip, requirements, python, notify)
            _try_imports(python, sorted(installed & _asked_for(requirements)), home, notify)
            (home / READY).touch()
        except BaseException as error:
            shutil.rmtree(home, ignore_errors=True)
            if isinstance(error, OSError):
                raise files.write_error(home, error) from error
            raise
    return python


def environment_folder(
    name: str, requirements: Path, base: str = BASE_PYTHON, folder: Path = ENVIRONMENTS
) -> Path:
    """The folder of an environment, whether it is there or not; arguments as `environment` has."""
    return folder / f"{name}-{_key(requirements, base, folder)}"


def is_inside(name: str) -> bool:
    """Return whether `reexec` has started this process in the environment `name`."""
    return os.environ.get(_ENTERED) == f"{name}:{ROOT}"


def reexec(
    name: str,
    python: Path | str,
    command: Sequence[str],
    variables: Mapping[str, str] | None = None,
) -> int:
    """Replace this process with `python COMMAND...`, marked as inside the environment `name`.

    Windows cannot replace a process: there the exit status of a child is returned.

    Args:
        name: the environment's name, as `environment` takes it; empty to remove the mark.
        python: the interpreter to run.
        command: its arguments.
        variables: environment variables (default: this process's).
    """
    marked = {**(os.environ if variables is None else variables), _ENTERED: f"{name}:{ROOT}"}
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(python, [str(python), *command], marked)
    return subprocess.run([str(python), *command], env=marked).returncode


def invalidate(python: Path) -> None:
    """Have the environment of this interpreter made anew the next time that it is asked for."""
    (python.parent.parent / READY).unlink(missing_ok=True)


def _is_ready(home: Path, python: Path) -> bool:
    return (home / READY).exists() and python.exists()


def _create(home: Path, python: Path, base: str, has_pip: bool, notify: Notify) -> list[str]:
    """Make the environment and return the command of a pip that installs into it.

    An environment that gets a pip with its requirements needs no other before: the interpreter's
    own one installs them, where it can, since to make one takes longer than all the rest.
    """
    # The user's own packages may hold a pip: so the second is asked for without -I.
    pips = [[base, "-I", "-m", "pip"], [sys.executable, "-m", "pip"]]
    with _seconds("making a virtual environment", notify):
        if has_pip and _bare(home, base, pips[0])[0]:
            return [*pips[0], "--python", str(python)]
        made = _run([base, "-I", "-m", "venv", "--clear", str(home)], home)
        if made.returncode == 0:
            return [str(python), "-I", "-m", "pip"]
        # Debian's python3 without python3-venv has no ensurepip, but perhaps a pip.
        works, said = _bare(home, base, pips[1])
    if works:
        return [*pips[1], "--python", str(python)]
    version = "{}.{}".format(*sys.version_info)
    raise BuildError(
        f"this Python ({base}) cannot make a virtual environment with pip:\n"
        + files.last_lines(made.stdout or said, 6),
        f"install its venv module (Debian, Ubuntu: apt install python{version}-venv)",
    )


def _bare(home: Path, base: str, pip: Sequence[str]) -> tuple[bool, str]:
    """Make an environment for a pip from elsewhere; whether both work, and what venv says."""
    made = _run([base, "-I", "-m", "venv", "--clear", "--without-pip", str(home)], home)
    version = _run([*pip, "--version"], home, without_pip_settings())
    return made.returncode == 0 and _takes_another_python(version), made.stdout


def _takes_another_python(pip: subprocess.CompletedProcess[str]) -> bool:
    """Whether a pip that was asked for its version has `--python`, which came with 22.3."""
    return _version(pip) >= (22, 3)


def _version(pip: subprocess.CompletedProcess[str]) -> tuple[int, int]:
    """What a pip says that was asked for its version; (0, 0) if that is none."""
    found = re.match(r"pip (\d+)\.(\d+)", pip.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _install(pip: Sequence[str], requirements: Path, python: Path, notify: Notify) -> set[str]:
    """Install all of a requirements file; returns the names of what was taken.

    A newer pip that is in it comes first, and installs the rest: an old one takes thrice the time.
    """
    home, names = python.parent.parent, set[str]()
    its = _pinned_pip(requirements)
    version = _version(_run([*pip, "--version"], home, without_pip_settings()))
    if its and (int(its[1]), int(its[2])) > version:
        alone = home / requirements.name
        alone.write_text(its[0], "utf-8")
        names = _install_all(pip, alone, home, notify)
        alone.unlink()
        pip = [str(python), "-I", "-m", "pip"]
    return names | _install_all(pip, requirements, home, notify)


def _pinned_pip(requirements: Path) -> re.Match[str] | None:
    """The lines of a requirements file that pin a pip, with the two numbers of its version."""
    text = requirements.read_text("utf-8")
    return re.search(r"^pip==(\d+)\.(\d+).*?(?=^\S|\Z)", text, re.M | re.S)


def _install_all(pip: Sequence[str], requirements: Path, home: Path, notify: Notify) -> set[str]:
    """Install a requirements file with this pip; returns the names of what it took."""
    command = [*pip, "install", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--no-warn-script-location", "--progress-bar", "off"]
    command.append("--no-compile")  # few of so many modules are imported: those are, when they are
    output: list[str] = []
    names: set[str] = set()
    with (
        _seconds("fetching packages", notify) as doing,
        subprocess.Popen(
            [*command, "-r", str(requirements)],
            env=pip_variables(pip, home),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            if match := re.match(r"Collecting ([\w.-]+?)==", line):
                names.add(match[1].lower())
                doing(f"fetching packages: {match[1]}, number {len(names)}")
            elif line.startswith("Installing collected packages"):
                doing(f"installing {len(names)} package" + "s" * (len(names) != 1))
    if process.returncode:
        raise BuildError(
            f"pip could not install {requirements.name}:\n{files.last_lines(''.join(output))}",
            "check the network and pip's settings (pip config list), then run this again",
        )
    return names


def _try_imports(python: Path, names: Sequence[str], home: Path, notify: Notify) -> None:
    """Import packages, from the environment and nowhere else.

    Raises:
        BuildError: something is not there, or does not import.
    """
    with _seconds("trying what was installed", notify):
        done = _run([str(python), "-I", "-c", _IMPORT_ALL, *names], home)
    if done.returncode:
        raise BuildError(
            f"what pip installed does not work:\n{files.last_lines(done.stdout)}",
            "check pip's settings (pip config list) and the disk, then run this again",
        )


def _asked_for(requirements: Path) -> set[str]:
    """The names in the `.in` file that a requirements file was made from, and in what it includes.

    Empty if there is no such file.
    """
    names: set[str] = set()
    source = requirements.with_suffix(".in")
    for line in source.read_text("utf-8").splitlines() if source.exists() else ():
        if include := re.match(r"-r (\S+)", line):
            names |= _asked_for(source.parent / include[1])
        elif name := re.match(r"[A-Za-z][\w.-]*", line):
            names.add(name[0].lower())
    return names


@contextmanager
def _seconds(title: str, notify: Notify) -> Iterator[Notify]:
    """Say what is going on, and again while it lasts; what is yielded takes a new title.

    On a terminal one line counts the seconds; elsewhere there is a new line every five.
    """
    drawn = notify is print_progress and sys.stderr.isatty()
    every = 0.5 if drawn else 5.0
    began = time.monotonic()
    over = threading.Event()

    def show() -> None:
        text = f"    {title}" + f" ({time.monotonic() - began:.0f} s)" * (
            began + 1 < time.monotonic()
        )
        if not drawn:
            notify(text)
            return
        words = text if len(text) < shutil.get_terminal_size().columns else "    working"
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)

    def repeat() -> None:
        while not over.wait(every):
            show()

    def doing(text: str) -> None:
        nonlocal title
        changed = text.partition(":")[0] != title.partition(":")[0]
        title = text
        if changed or drawn:
            show()

    show()
    clock = threading.Thread(target=repeat, daemon=True)
    clock.start()
    try:
        yield doing
    finally:
        over.set()
        clock.join()
        if drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _run(
    command: Sequence[str], cwd: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a neutral environment and an empty-handed folder; its output is stdout."""
    try:
        return subprocess.run(
            command,
            env=neutral_variables() if variables is None else variables,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, f"{command[0]}: {error.strerror}", "")


def _key(requirements: Path, base: str, folder: Path) -> str:
    # A virtual environment's interpreter is a link to the one that it was made with.
    made_with = os.path.realpath(base)
    what = [sys.version, sysconfig.get_platform(), made_with, str(folder), str(_FORM)]
    digest = hashlib.sha256("\n".join(what).encode() + requirements.read_bytes())
    return digest.hexdigest()[:12]
