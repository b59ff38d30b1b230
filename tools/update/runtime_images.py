"""Write to runtime_images.toml what the platforms' Dockerfiles set OW_EXECUTION_ENV to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        for python in [*known, _next_minor(list(known)[-1])]:
            found = read_environment(platform, python, must_exist=python in known)
            if found:
                rows.append((name, python, str(known.get(python, "")), found))
                known[python] = found
    if not check:
        path.write_text(tomlkit.dumps(document), "utf-8")
    return rows


def read_environment(platform: Mapping[str, Any], python: str, must_exist: bool) -> str:
    """Return OW_EXECUTION_ENV of a platform's image for a Python; empty if there is no image."""
    url = platform["dockerfile"].format(python=python, digits=python.replace(".", ""))
    try:
        response = requests.get(url, timeout=TIMEOUT_SECONDS)
        if response.status_code == 404 and not must_exist:
            return ""
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


def _next_minor(python: str) -> str:
    major, minor = python.split(".")
    return f"{major}.{int(minor) + 1}"
