"""Ask the package index that pip is configured with what it has (PEP 503, PEP 691)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import requests
import truststore
from packaging.specifiers import SpecifierSet
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from builder.base.errors import BuildError

JSON = "application/vnd.pypi.simple.v1+json"
TIMEOUT_SECONDS = (8, 60)

truststore.inject_into_ssl()


@dataclass(frozen=True)
class File:
    """A file of a release; `tags` are a wheel's ("cp311-cp311-manylinux_2_28_x86_64")."""

    name: str
    version: Version
    sha256: str
    python: SpecifierSet
    tags: frozenset[str]


def read_pip_setting(name: str) -> str:
    """Return a setting of pip, such as "index-url", from its variable or its files; else empty."""
    variable = f"PIP_{name.upper().replace('-', '_')}"
    command = [sys.executable, "-I", "-m", "pip", "config", "get", f"global.{name}"]
    return (
        os.environ.get(variable)
        or subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ).stdout.strip()
    )


class Index:
    """The package index; each package is asked for once."""

    def __init__(self) -> None:
        default = import_module("pip._internal.models.index").PyPI.simple_url  # pip knows which
        self._url = (read_pip_setting("index-url") or str(default)).rstrip("/")
        self._session = requests.Session()
        self._session.headers["Accept"] = JSON
        self._session.verify = read_pip_setting("cert") or True
        self._known: dict[str, list[File]] = {}

    def files(self, package: str) -> list[File]:
        """Return the files of all final releases of a package that were not withdrawn.

        Raises:
            BuildError: the index does not answer, or does not have the package.
        """
        if package not in self._known:
            url = f"{self._url}/{package}/"
            try:
                response = self._session.get(url, timeout=TIMEOUT_SECONDS)
                response.raise_for_status()
                listed = response.json()["files"]
            except (requests.RequestException, KeyError) as error:
                raise BuildError(
                    f"the package index does not answer with JSON (PEP 691): {error}",
                    "check the network and pip's settings (pip config list)",
                ) from error
            self._known[package] = list(_parse_files(listed))
        return self._known[package]


def _parse_files(listed: list[dict[str, Any]]) -> Iterator[File]:
    """Yield the sources and wheels of final releases in an index's list."""
    for each in listed:
        name = each["filename"]
        try:
            if name.endswith(".whl"):
                _, version, _, tags = parse_wheel_filename(name)
            else:
                _, version = parse_sdist_filename(name)
                tags = frozenset()
            python = SpecifierSet(each.get("requires-python") or "")
        except ValueError:  # of packaging: another kind of file
            continue
        sha256 = each["hashes"].get("sha256")
        if sha256 and not each.get("yanked") and not version.is_prerelease:
            yield File(name, version, sha256, python, frozenset(map(str, tags)))
