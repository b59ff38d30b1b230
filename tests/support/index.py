"""A package index on loopback, and small packages to put there."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.server import File, serving

JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class PackageIndex:
    """An index in PEP 691's JSON.

    Attributes:
        address: of the server; the index is below `/simple`.
        served: the files by path; change them to make the server misbehave.
        requests: the paths that were asked for.
    """

    address: str
    served: dict[str, File]
    requests: list[str]

    @property
    def url(self) -> str:
        return f"{self.address}/simple"

    def release(
        self, package: str, name: str, content: bytes, python: str = ">=3.10", **more: Any
    ) -> str:
        """Add a file of a package; return its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        page = self.served.setdefault(f"/simple/{package}/", File(b"", kind=JSON))
        listed = json.loads(page.content or b'{"files": []}')
        listed |= {"meta": {"api-version": "1.0"}, "name": package}
        listed["files"].append(
            {
                "filename": name,
                "url": f"{self.address}/files/{name}",
                "hashes": {"sha256": sha256},
                "requires-python": python,
                **more,
            }
        )
        page.content = json.dumps(listed).encode()
        self.served[f"/files/{name}"] = File(content)
        return sha256

    def release_wheel(self, package: str, version: str = "1.0") -> str:
        """Add a wheel for any Python; return a line of a requirements file that pins it."""
        name = f"{package}-{version}-py3-none-any.whl"
        sha256 = self.release(package, name, wheel(package, version))
        return f"{package}=={version} \\\n    --hash=sha256:{sha256}\n"


@contextmanager
def serving_index() -> Iterator[PackageIndex]:
    served: dict[str, File] = {}
    with serving(served) as server:
        yield PackageIndex(server.url, served, server.requests)


def wheel(name: str, version: str = "1.0") -> bytes:
    """Return a wheel with an empty package; the same bytes each time."""
    out = io.BytesIO()
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in (
            (f"{name}/__init__.py", ""),
            (f"{about}/METADATA", metadata),
            (f"{about}/WHEEL", tag),
            (f"{about}/RECORD", ""),
        ):
            archive.writestr(zipfile.ZipInfo(path), text)
    return out.getvalue()
