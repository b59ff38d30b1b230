"""The requirements files: compiled by uv from the `.in` files, with the options that those name.

An `.in` file has a line `# compile: OPTIONS`, where a path in the options is from the checkout's
root. Its result lies beside it, as `.txt`, with every file's hashes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.base.errors import BuildError
from builder.base.files import last_lines
from builder.base.paths import ROOT
from builder.base.variables import pip_variables


class NoSolution(BuildError):
    """No versions fit together."""


_LEFT_OUT = {"build", "dist", ".git"}


def sources() -> list[Path]:
    """Every `.in` file of the checkout that names its options; constraints before who has them."""
    found = [
        path
        for path in ROOT.rglob("*.in")
        if not _LEFT_OUT & set(path.relative_to(ROOT).parts) and options(path) is not None
    ]
    return sorted(found, key=lambda path: ("-c" in (options(path) or []), path))


def options(source: Path) -> list[str] | None:
    """What the `# compile:` line of an `.in` file says; None if there is none."""
    match = re.search(r"^# compile:(.*)$", source.read_text("utf-8"), re.MULTILINE)
    return match[1].split() if match else None


def versions(requirements: Path) -> dict[str, str]:
    """The pinned versions in a requirements file: name -> version, several joined by a comma."""
    return parsed(requirements.read_text("utf-8"))


def parsed(text: str) -> dict[str, str]:
    """The pinned versions in the text of one."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        try:
            requirement = Requirement(re.sub(r"\s*\\?$", "", line))
        except InvalidRequirement:
            continue
        for specifier in requirement.specifier:
            found.setdefault(canonicalize_name(requirement.name), []).append(specifier.version)
    return {name: ", ".join(sorted(set(each))) for name, each in found.items()}


def newest(source: Path, packages: Sequence[str] = ()) -> str:
    """What an `.in` file compiles to today.

    Args:
        source: the `.in` file.
        packages: take the newest version of these only, each "name" or "name==version"; all others
            stay as they are. Empty for all.

    Raises:
        NoSolution: what the file and its constraints ask for contradicts itself.
        BuildError: the index does not answer.
    """
    with TemporaryDirectory() as scratch:
        target = Path(scratch) / source.with_suffix(".txt").name
        if source.with_suffix(".txt").exists():
            shutil.copyfile(source.with_suffix(".txt"), target)
        upgrade = [word for package in packages for word in ("--upgrade-package", package)]
        command = [sys.executable, "-m", "uv", "pip", "compile", *(options(source) or [])]
        command += ["--generate-hashes", "--quiet", "--no-config", *(upgrade or ["--upgrade"])]
        command += ["--custom-compile-command", "python -m tools.update requirements"]
        command += [source.relative_to(ROOT).as_posix(), "--output-file", str(target)]
        done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True)
        if done.returncode:
            kind = NoSolution if "No solution found" in done.stderr else BuildError
            raise kind(f"{source.relative_to(ROOT)}:\n{last_lines(done.stderr)}")
        return target.read_text("utf-8")


def _environment() -> dict[str, str]:
    """For uv: the index and the certificates of pip."""
    settings = pip_variables([sys.executable, "-I", "-m", "pip"], ROOT)
    env = {name: value for name, value in settings.items() if not name.startswith("PIP_")}
    if index := settings.get("PIP_INDEX_URL"):
        env["UV_DEFAULT_INDEX"] = index
    if certificates := settings.get("PIP_CERT"):
        env["SSL_CERT_FILE"] = certificates
    return env
