"""What is publicly known to be wrong with the parts of a zip: its SBOM, asked at OSV.

OSV (https://google.github.io/osv.dev/api/) collects the advisories of package indexes and of
projects. It is asked about packages of the index by their package URL, about what is compiled from
a project's own repository by that and the tag.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import truststore

from builder.base.errors import BuildError

OSV = "https://api.osv.dev"
TIMEOUT_SECONDS = (8, 30)
SBOM, PACKED = "sbom.cdx.json", "packed.zip"

truststore.inject_into_ssl()


@dataclass(frozen=True)
class Answer:
    """What is known of one component.

    Attributes:
        name, version: of the component.
        advisories: OSV's identifiers; None if it cannot be asked about.
    """

    name: str
    version: str
    advisories: tuple[str, ...] | None


def ask(sbom: Path, service: str = OSV) -> list[Answer]:
    """What is known of each component of an SBOM, in its order.

    Args:
        sbom: CycloneDX JSON, or a zip of ours, which has it.
        service: the address of OSV.

    Raises:
        BuildError: the file is no SBOM, or OSV does not answer.
    """
    components = list(_components(_read(sbom).get("components", ())))
    queries = [(each, _query(each)) for each in components]
    asked = [query for _, query in queries if query]
    try:
        answer = requests.post(
            f"{service}/v1/querybatch", json={"queries": asked}, timeout=TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        results = iter(answer.json()["results"])
        return [
            Answer(
                each["name"],
                each.get("version", ""),
                _advisories(next(results)) if query else None,
            )
            for each, query in queries
        ]
    except (requests.RequestException, ValueError, KeyError, StopIteration) as error:
        raise BuildError(
            f"OSV does not answer at {service}: {error}",
            "check the network, or ask with another tool that reads the SBOM: osv-scanner, grype",
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inner = PACKED in archive.namelist()
                with zipfile.ZipFile(archive.open(PACKED)) if inner else archive as packed:
                    content = packed.read(SBOM)
        else:
            content = path.read_bytes()
        bom: dict[str, Any] = json.loads(content)
        if bom.get("bomFormat") == "CycloneDX":
            return bom
    except OSError as error:
        raise BuildError(f"--audit: cannot read {path}: {error.strerror or error}") from error
    except (KeyError, ValueError, AttributeError):
        pass
    raise BuildError(
        f"--audit: expected CycloneDX JSON or a zip with {SBOM}, found {path}",
        "build_zip.py writes a zip that has it",
    )


def _components(components: Any) -> Iterator[dict[str, Any]]:
    """All components, and what is in them."""
    for component in components:
        yield component
        yield from _components(component.get("components", ()))


def _query(component: dict[str, Any]) -> dict[str, Any] | None:
    """OSV's query about a component; None if nothing says what it is in OSV's terms."""
    purl = str(component.get("purl", ""))
    if purl.startswith("pkg:pypi/"):
        return {"package": {"purl": purl}}
    project = re.fullmatch(r"pkg:github/([\w.-]+/[\w.-]+)@([^?#]+)", purl)
    if project and re.search(r"\d\.\d", project[2]):
        name = f"https://github.com/{project[1]}"
        return {"package": {"ecosystem": "GIT", "name": name}, "version": project[2]}
    return None


def _advisories(result: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(str(each["id"]) for each in result.get("vulns", ())))
