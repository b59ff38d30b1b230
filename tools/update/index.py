"""The package index that pip is set up with, asked as pip asks it (PEP 503, PEP 691)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import requests
import truststore
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from builder.base.errors import BuildError
from builder.base.files import sha256_of
from builder.base.paths import ROOT
from builder.base.variables import pip_variables

JSON = "application/vnd.pypi.simple.v1+json"
TIMEOUT_SECONDS = (8, 60)

truststore.inject_into_ssl()


@dataclass(frozen=True)
class File:
    """A file of a release.

    Attributes:
        name: as it is in the index.
        version: of the release.
        sha256: of the file, in hex.
        url: its address.
        python: which Pythons it is for.
        tags: of a wheel ("cp311-cp311-manylinux_2_28_x86_64"); empty for a source.
    """

    name: str
    version: Version
    sha256: str
    url: str
    python: SpecifierSet
    tags: frozenset[str]


class Index:
    """Answers what the index has; each package is asked for once."""

    def __init__(self) -> None:
        settings = pip_variables([sys.executable, "-I", "-m", "pip"], ROOT)
        self._url = (settings.get("PIP_INDEX_URL") or _pips_own()).rstrip("/")
        self._session = requests.Session()
        if certificates := settings.get("PIP_CERT"):
            self._session.verify = certificates
        self._known: dict[str, list[File]] = {}

    def files(self, package: str) -> list[File]:
        """The files of all final releases of a package that were not withdrawn.

        Raises:
            BuildError: the index does not answer, or does not have it.
        """
        name = canonicalize_name(package)
        if name not in self._known:
            answer = self._get(f"{self._url}/{name}/", {"Accept": JSON})
            try:
                listed = answer.json()["files"]
            except (ValueError, KeyError) as error:
                raise BuildError(
                    f"{self._url}: expected the index's JSON (PEP 691), found "
                    f"{answer.headers.get('Content-Type', 'no content type')}",
                    "set up another index for pip, for example with PIP_INDEX_URL",
                ) from error
            files = [_file(each, answer.url) for each in listed if not each.get("yanked")]
            self._known[name] = [file for file in files if file and not file.version.is_prerelease]
        return self._known[name]

    def download(self, file: File, folder: Path) -> Path:
        """Have a file in a folder, verified.

        Raises:
            BuildError: it is not delivered, or is not the one that the index lists.
        """
        target = folder / file.name
        if not target.exists() or sha256_of(target) != file.sha256:
            folder.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._get(file.url, {}).content)
        if (found := sha256_of(target)) != file.sha256:
            target.unlink()
            raise BuildError(f"{file.name}: expected sha256 {file.sha256}, found {found}")
        return target

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        try:
            answer = self._session.get(url, headers=headers, timeout=TIMEOUT_SECONDS)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise BuildError(
                f"the package index does not answer: {error}",
                "check the network and pip's settings (pip config list)",
            ) from error
        return answer


def _file(listed: dict[str, object], base: str) -> File | None:
    """A file of the index's list; None for what is neither a source nor a wheel, or has no hash."""
    name = str(listed["filename"])
    hashes = listed.get("hashes")
    sha256 = hashes.get("sha256", "") if isinstance(hashes, dict) else ""
    try:
        python = SpecifierSet(str(listed.get("requires-python") or ""))
        if name.endswith(".whl"):
            _, version, _, tags = parse_wheel_filename(name)
        else:
            _, version = parse_sdist_filename(name)
            tags = frozenset()
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidSpecifier):
        return None
    url = requests.compat.urljoin(base, str(listed["url"]))
    return File(name, version, sha256, url, python, frozenset(map(str, tags))) if sha256 else None


def _pips_own() -> str:
    """The index that pip takes where none is set: pip itself knows which."""
    return str(import_module("pip._internal.models.index").PyPI.simple_url)
