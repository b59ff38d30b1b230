"""The sources of the recipe: pinned, fetched from their origins, verified and patched."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from builder.artifact.platform import pythons
from builder.base.errors import BuildError
from builder.model.tflite import OPERATORS
from builder.native import COMPILED_PACKAGES, steps
from builder.native.pins import read_pins
from builder.native.sources import Sources
from builder.native.steps import RECIPE, BuildFolder
from builder.native.tflite.build import registered_operators
from builder.native.toolchain import Toolchain
from builder.native.versions import names_for_version, upstream_version


def test_a_source_is_found_by_its_hash_or_the_origins_are_named(tmp_path: Path) -> None:
    given = tmp_path / "given" / "deep"
    given.mkdir(parents=True)
    (given / "another name.bin").write_bytes(b"the source")
    (given / "it.tar.gz").write_bytes(b"not the source")
    sources = Sources(Toolchain(BuildFolder(tmp_path / "build", 1)), [tmp_path / "given"], "")
    sha256 = hashlib.sha256(b"the source").hexdigest()
    pin = replace(sources.pins["zlib"], file="it.tar.gz", sha256=sha256, sha1="0" * 40)
    assert sources.fetch(pin).read_bytes() == b"the source"
    with pytest.raises(BuildError) as caught:
        sources.fetch(replace(pin, sha256="f" * 64))
    assert f"could not find the source it.tar.gz (sha256 {'f' * 64})" in str(caught.value)
    assert "--sources: no file there has this sha256" in str(caught.value)
    assert "Debian's snapshot service: " in str(caught.value)
    assert "--sources DIR" in caught.value.hint
    assert not list((tmp_path / "build").rglob("*.part"))


@pytest.mark.parametrize("command", ["head -c 2000 /dev/zero > part", "sleep 60"])
def test_downloads_are_bounded(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [re.sub("1800|268435456", "1", word) for word in steps.FETCH_LIMITS]
    monkeypatch.setattr(steps, "FETCH_LIMITS", limits)
    with pytest.raises(BuildError, match="fetch: sh failed"):
        BuildFolder(tmp_path, 1).run(["sh", "-c", command], steps.FETCH)


@pytest.mark.parametrize("python", pythons())
def test_every_source_is_pinned_for_every_python(python: str) -> None:
    pins = read_pins(python)
    assert {"tensorflow", "xnnpack", "numpy", "pillow", "libjpeg-turbo"} <= set(pins)
    modules = {package.module for package in COMPILED_PACKAGES}
    for name, pin in pins.items():
        assert re.fullmatch(r"[0-9a-f]{64}", pin.sha256), name
        assert pin.licence
        assert pin.package in modules
        assert bool(pin.suite) == bool(pin.revision) == bool(pin.sha1)
    with pytest.raises(BuildError, match=r"expected a pin for one of Python 3\.10, .*found 3\.9"):
        read_pins("3.9")


def test_upstream_version_of_debians() -> None:
    assert upstream_version("1:1.3.dfsg+really1.3.1-1+deb13u1") == "1.3.1"
    assert upstream_version("2.14.1+dfsg-3.1") == "2.14.1"
    assert upstream_version("1:3.1.3-4") == "3.1.3"
    assert upstream_version("0.0~git20241108.4ea82e5-2") == "0.0~git20241108.4ea82e5"


def test_names_for_a_version() -> None:
    lines = ["a", "b < 13", "c >= 2.4", "d >= 13.0.1"]
    assert names_for_version(lines, "12.3.0") == ["a", "b", "c"]
    assert names_for_version(lines, "13.0.0") == ["a", "c"]
    assert names_for_version(lines, "2.10.0") == ["a", "b", "c"]


def test_every_patch_belongs_to_a_source_and_gives_a_reason() -> None:
    named = {
        RECIPE / pin.folder / "patches" / patch
        for python in pythons()
        for pin in read_pins(python).values()
        for patch in pin.patches
    }
    assert named == set(RECIPE.glob("*/patches/*"))
    for patch in named:
        head, _, rest = patch.read_text("utf-8").partition("\n--- a/")
        assert "\n\nUpstream: " in head, f"{patch.name}: expected why, and what upstream says"
        assert rest
        for line in rest.splitlines():
            if line.startswith(("--- ", "+++ ")):
                assert line[4:].startswith(("a/", "b/", "/dev/null")), f"{patch.name}: {line}"


def test_registered_operators_are_tflites() -> None:
    names = set(registered_operators())
    assert names <= set(OPERATORS.values())
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX", "HARD_SWISH", "CONCATENATION"} <= names
