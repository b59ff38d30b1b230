"""Ask the package index that pip is configured with what it has (PEP 503, PEP 691)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import requests
import truststore
from packaging.specifiers import SpecifierSet
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from builder.base.errors import BuildError
from builder.base.files import sha256_of

JSON = "application/vnd.pypi.simple.v1+json"
TIMEOUT_SECONDS = (8, 60)

truststore.inject_into_ssl()


@dataclass(frozen=True)
class File:
    """A file of a release; `tags` are a wheel's ("cp311-cp311-manylinux_2_28_x86_64")."""

    name: str
    version: Version
    sha256: str
    url: str
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
        self._session.verify = read_pip_setting("cert") or True
        self._known: dict[str, list[File]] = {}

    def files(self, package: str) -> list[File]:
        """Return the files of all final releases of a package that were not withdrawn.

        Raises:
            BuildError: the index does not answer, or does not have the package.
        """
        if package not in self._known:
            response = self._get(f"{self._url}/{package}/", {"Accept": JSON})
            try:
                listed = response.json()["files"]
            except (ValueError, KeyError) as error:
                raise BuildError(
                    f"{self._url}: expected the index's JSON (PEP 691), found "
                    f"{response.headers.get('Content-Type', 'no content type')}",
                    "configure another index for pip, for example with PIP_INDEX_URL",
                ) from error
            self._known[package] = list(_parse_files(listed, response.url))
        return self._known[package]

    def download(self, file: File, folder: Path) -> Path:
        """Download a file into a folder, unless it is there; return its path.

        Raises:
            BuildError: the index does not deliver it, or its sha256 is not the listed one.
        """
        target = folder / file.name
        if target.exists() and sha256_of(target) == file.sha256:
            return target
        content = self._get(file.url, {}).content
        if (found := hashlib.sha256(content).hexdigest()) != file.sha256:
            raise BuildError(f"{file.name}: expected sha256 {file.sha256}, found {found}")
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        try:
            response = self._session.get(url, headers=headers, timeout=TIMEOUT_SECONDS)
            response.raise_for_status()
        except requests.RequestException as error:
            raise BuildError(
                f"the package index does not answer: {error}",
                "check the network and pip's settings (pip config list)",
            ) from error
        return response


def _parse_files(listed: list[dict[str, Any]], base: str) -> Iterator[File]:
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
            url = requests.compat.urljoin(base, each["url"])
            yield File(name, version, sha256, url, python, frozenset(map(str, tags)))
