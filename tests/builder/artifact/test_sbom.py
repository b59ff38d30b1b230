"""Bill of materials and licences: valid CycloneDX, every component named as others name it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from builder.artifact import platform
from builder.artifact.licences import LICENCES, collect_licences
from builder.artifact.manifest import MANIFEST, Manifest
from builder.artifact.sbom import SBOM, write_sbom
from builder.base.archive import read_zip
from builder.base.paths import ROOT
from builder.native.pins import read_pins
from builder.native.steps import RECIPE
from builder.packages import DEFAULT_OPTIONS, Component, compiled
from tests.support.compiled import PYTHON, needs_compiled

# The CPE dictionary's form of an application's name: part, vendor, product, version.
CPE = re.compile(r"cpe:2\.3:a:[a-z0-9._-]+:[a-z0-9._-]+:[A-Za-z0-9._-]+(:\*){7}")


def list_components(bom: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for component in bom.get("components", ()):
        yield component
        yield from list_components(component)


def validate(content: bytes) -> dict[str, Any]:
    """Check a bill against CycloneDX's schema; return it."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None
    bom: dict[str, Any] = json.loads(content)
    return bom


@pytest.mark.parametrize("python", platform.pythons())
def test_pinned_sources_have_names_of_others(python: str) -> None:
    for name, pin in read_pins(python).items():
        purl = PackageURL.from_string(pin.purl)
        assert purl.version, name
        assert purl.to_string() == pin.purl
        assert CPE.fullmatch(pin.cpe), pin.cpe
        if "git" not in pin.version:
            assert pin.version in purl.version
            assert f":{pin.version}:" in pin.cpe


def test_wheels_are_named_as_on_the_package_index(wheels_path: Path) -> None:
    files = read_zip(wheels_path).files
    bom = validate(files[SBOM])
    for component in list_components(bom):
        if component["type"] == "library" and component["name"] != "labels":
            assert PackageURL.from_string(component["purl"]).type == "pypi"
            assert CPE.fullmatch(component["cpe"])
            assert "removed" in component["pedigree"]["notes"]
    manifest = Manifest.from_json(files[MANIFEST])
    assert bom["metadata"]["component"]["name"] == "action"
    assert {(each["name"], each.get("version", "")) for each in bom["components"]} == {
        (each.name, each.version) for each in manifest.components[1:]
    }
    licences = files[LICENCES].decode()
    assert all(each.licence in licences for each in manifest.components)
    for text in ("Apache License", "OpenBLAS", "LIBJPEG", "Permission is hereby granted"):
        assert text in licences


@needs_compiled
def test_linked_sources_are_named_with_their_patches() -> None:
    components = compiled.load(PYTHON, DEFAULT_OPTIONS).components
    function = Component("action", "0.1.0", "this project", "", "Apache-2.0", ())
    bom = validate(write_sbom([function, *components]))
    found = {each["name"]: each for each in list_components(bom)}
    inner = {each["name"] for each in found["pillow"]["components"]}
    assert inner == {"libjpeg-turbo", "zlib", "libwebp"}
    names = {(each.get("purl"), each.get("cpe")) for each in found.values()}
    pins = [pin for pin in read_pins(PYTHON).values() if pin.ops in ("", "classifier")]
    assert names >= {(pin.purl, pin.cpe) for pin in pins}
    licences = collect_licences(components)
    assert "Mozilla Public License" in licences
    assert all(f"{name} " in licences for name in {*inner, "eigen3", "xnnpack", "pybind11"})
    patches = {
        (ROOT / patch["diff"]["url"]).relative_to(RECIPE)
        for component in list_components(bom)
        for patch in component.get("pedigree", {}).get("patches", ())
    }
    expected = {
        Path(pin.folder, "patches", name)
        for pin in read_pins(PYTHON).values()
        for name in pin.patches
        if pin.ops in ("", "classifier")
    }
    assert expected
    assert patches == expected
