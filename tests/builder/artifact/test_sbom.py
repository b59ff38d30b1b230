"""The bill of materials: valid CycloneDX, and every part named as others name it."""

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
from builder.artifact.sbom import SBOM, write_sbom
from builder.base import archive
from builder.native.pins import read_pins
from builder.packages import Component

# The CPE dictionary's form of an application's name: part, vendor, product, version.
CPE = re.compile(r"cpe:2\.3:a:[a-z0-9._-]+:[a-z0-9._-]+:[A-Za-z0-9._-]+(:\*){7}")


def parts(python: str) -> list[Component]:
    """What a zip of compiled packages is made of, as its recipe pins it."""

    def part(name: str, **more: Any) -> Component:
        pin = read_pins(python)[name]
        text = ((name, "text"),)
        source = f"{pin.file}, compiled"
        return Component(
            name, pin.version, source, pin.sha256, pin.licence, text, purl=pin.purl, cpe=pin.cpe,
            **more,
        )  # fmt: skip

    own = Component("action", "0.1.0", "this project", "", "Apache-2.0", ())
    mains = {"tflite_runtime": "tensorflow", "numpy": "numpy", "PIL": "pillow"}
    packages = [
        part(
            main,
            linked=tuple(
                part(name)
                for name, pin in read_pins(python).items()
                if pin.package == package and name != main
            ),
        )
        for package, main in mains.items()
    ]
    model = Component("model mobilenet", "1", "a file", "0" * 64, "Apache-2.0", ())
    return [own, *packages, model]


def components(bom: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for component in bom.get("components", ()):
        yield component
        yield from components(component)


def problems(text: str) -> str:
    return str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) or "")


@pytest.mark.parametrize("python", platform.pythons())
def test_of_compiled_packages(python: str) -> None:
    text = write_sbom(parts(python)).decode()
    assert problems(text) == ""
    found = {each["name"]: each for each in components(json.loads(text))}
    assert {pin.name for pin in read_pins(python).values()} <= set(found)
    for name, pin in read_pins(python).items():
        purl = PackageURL.from_string(found[name]["purl"])
        assert purl.version, name
        assert purl.to_string() == found[name]["purl"]
        assert CPE.fullmatch(found[name]["cpe"]), found[name]["cpe"]
        if "git" not in pin.version:
            assert pin.version in purl.version
            assert f":{pin.version}:" in found[name]["cpe"]
    assert found["pillow"]["purl"] == f"pkg:pypi/pillow@{read_pins(python)['pillow'].version}"
    inner = {each["name"] for each in found["pillow"]["components"]}
    assert inner == {"libjpeg-turbo", "zlib", "libwebp"}


def test_that_the_schema_finds_what_is_wrong() -> None:
    """What the other tests ask of a bill is more than that it can be parsed."""
    for key, value in (("type", "thing"), ("bom-ref", ""), ("licenses", [{"license": {}}])):
        bom = json.loads(write_sbom(parts("3.11")))
        bom["components"][0][key] = value
        assert problems(json.dumps(bom)), key


def test_of_a_zip(wheels_path: Path) -> None:
    path = wheels_path
    text = archive.read_zip(path).files[SBOM].decode()
    assert problems(text) == ""
    for component in components(json.loads(text)):
        if component["type"] == "library" and component["name"] != "labels":
            assert PackageURL.from_string(component["purl"]).type == "pypi"
            assert CPE.fullmatch(component["cpe"])
