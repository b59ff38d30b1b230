"""Write to runtime_images.toml what the platforms' Dockerfiles set OW_EXECUTION_ENV to."""

from __future__ import annotations

import re
from pathlib import Path

import requests
import tomlkit

from builder.base.errors import BuildError

TIMEOUT_SECONDS = (8, 60)


def update_images(path: Path, check: bool) -> list[tuple[str, str, str, str]]:
    """Read all Dockerfiles again; unless `check`, write what changed to the TOML file.

    Returns:
        Platform, Python version, OW_EXECUTION_ENV in the file, and the one that was found.

    Raises:
        BuildError: a Dockerfile could not be read.
    """
    document = tomlkit.parse(path.read_text("utf-8"))
    rows = []
    for name, platform in document.items():
        known = platform["execution_env"]
        for python, old in known.items():
            digits = python.replace(".", "")
            found = read_environment(platform["dockerfile"].format(python=python, digits=digits))
            rows.append((name, python, str(old), found))
            known[python] = found
    if not check:
        path.write_text(tomlkit.dumps(document), "utf-8")
    return rows


def read_environment(url: str) -> str:
    """Return what a Dockerfile sets OW_EXECUTION_ENV to; raises BuildError."""
    try:
        response = requests.get(url, timeout=TIMEOUT_SECONDS)
        response.raise_for_status()
    except requests.RequestException as error:
        raise BuildError(
            f"could not read {url}: {error}",
            "correct `dockerfile` in runtime_images.toml if it moved",
        ) from error
    found = re.search(r"^\s*ENV\s+OW_EXECUTION_ENV[= ](\S+)", response.text, re.MULTILINE)
    if not found:
        raise BuildError(f"{url}: expected a line ENV OW_EXECUTION_ENV=..., found none")
    return found[1]
