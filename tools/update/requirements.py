"""Compile the requirements files with uv from the `.in` files, with the options in those.

An `.in` file has a line `# compile: OPTIONS`, where a path is from the checkout's root. Its result
lies beside it as `.txt`, with the hashes of all files.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.base.errors import BuildError
from builder.base.paths import BUILD, ROOT
from builder.base.processes import last_lines
from builder.base.variables import neutral_variables
from tools.update.index import read_pip_setting


def find_sources() -> list[Path]:
    """Return the `.in` files of the checkout; those with constraints come last."""
    paths = [path for path in ROOT.rglob("*.in") if BUILD not in path.parents]
    return sorted(paths, key=lambda path: ("-c" in read_options(path), path))


def read_options(source: Path) -> list[str]:
    """Return the options in the `# compile:` line of an `.in` file."""
    match = re.search(r"^# compile:(.*)$", source.read_text("utf-8"), re.MULTILINE)
    return match[1].split() if match else []


def read_versions(source: Path) -> dict[str, str]:
    """Return the pinned versions in the result of an `.in` file, by package."""
    return parse_versions(source.with_suffix(".txt").read_text("utf-8"))


def parse_versions(text: str) -> dict[str, str]:
    """Return the pinned versions in a requirements file's text; several are joined by a comma."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(each)) for name, each in versions.items()}


def compile_source(source: Path, package: str = "") -> str:
    """Return the text that an `.in` file compiles to today.

    With a package, the versions of all others stay as they are.

    Raises:
        BuildError: the index does not answer, or the file and its constraints contradict each
            other.
    """
    with TemporaryDirectory() as scratch:
        target = Path(scratch) / source.with_suffix(".txt").name
        if source.with_suffix(".txt").exists():
            shutil.copyfile(source.with_suffix(".txt"), target)
        command = [sys.executable, "-m", "uv", "pip", "compile", *read_options(source)]
        command += ["--generate-hashes", "--quiet", "--no-config"]
        command += ["--upgrade-package", package] if package else ["--upgrade"]
        command += ["--custom-compile-command", "python -m tools.update requirements"]
        command += [source.relative_to(ROOT).as_posix(), "--output-file", str(target)]
        done = subprocess.run(
            command, cwd=ROOT, env=_uv_variables(), capture_output=True, text=True
        )
        if done.returncode:
            raise BuildError(f"{source.relative_to(ROOT)}:\n{last_lines(done.stderr)}")
        return target.read_text("utf-8")


def _uv_variables() -> dict[str, str]:
    """Return environment variables that give uv pip's index and certificates."""
    variables = neutral_variables()
    if index := read_pip_setting("index-url"):
        variables["UV_DEFAULT_INDEX"] = index
    if certificates := read_pip_setting("cert"):
        variables["SSL_CERT_FILE"] = certificates
    return variables
