"""`--check` of what somebody else made: no crash, and nothing foreign passes.

Every zip here is ours with something changed; each is either not a zip, or has a problem.
"""

from __future__ import annotations

import json
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.artifact.audit import Audit, audit_zip
from builder.base.archive import PACKED, read_zip
from builder.base.errors import BuildError
from tests.builder.artifact.test_audit import listed, small
from tests.support.zips import Files, write

SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def good(zip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip that passes, with a model of a few bytes: quick to read."""
    files = small(read_zip(zip_path).files)
    for name in files:
        if name.endswith(".tflite"):
            files[name] = files[name][:2000]
    path = write(listed(files), tmp_path_factory.mktemp("good") / "a.zip")
    assert audit_zip(path).problems == []
    return path


@pytest.fixture(scope="module")
def files(good: Path) -> Files:
    return read_zip(good).files


def outcome(path: Path) -> Audit | None:
    """The audit; None if the file is no zip at all."""
    try:
        return audit_zip(path)
    except BuildError as error:
        assert "is not a complete zip" in str(error)
        return None


def passes(path: Path) -> bool:
    report = outcome(path)
    return report is not None and report.ok


def test_every_kind_of_damage_to_the_bytes(good: Path, tmp_path: Path) -> None:
    """Bits turned, bytes set, cut out, put in, doubled, moved: all are noticed."""
    content = good.read_bytes()
    rng = random.Random(5)
    path = tmp_path / "a.zip"
    # The directories and the end of both zips are small: so that they are hit as well.
    end = len(content)
    spots = [rng.randrange(end) for _ in range(150)]
    spots += [end - 1 - rng.randrange(2500) for _ in range(100)]
    inner = content.rfind(b"PK\5\6", 0, end - 22)
    spots += [inner + 21 - rng.randrange(2500) for _ in range(100)]
    for at in spots:
        some = content[at : at + rng.choice((1, 2, 4, 30))]
        changed = rng.choice(
            (
                content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
                content[:at] + rng.randbytes(4) + content[at + 4 :],
                content[:at] + content[at + len(some) :],
                content[:at] + rng.randbytes(len(some)) + content[at:],
                content[:at] + some + content[at:],
            )
        )
        path.write_bytes(changed)
        assert changed == content or not passes(path), at


def test_what_is_around_and_between_the_entries(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    path = tmp_path / "a.zip"
    start = struct.unpack("<L", content[-6:-2])[0]
    for changed in (
        b"#!/bin/sh\nrm -rf /\n" + content,
        content + b"\n",
        content[:-2] + struct.pack("<H", 5) + b"hello",
        content[:start] + b"hidden" + content[start:-6] + struct.pack("<LH", start + 6, 0),
        content + content,
    ):
        path.write_bytes(changed)
        assert not passes(path)


@pytest.mark.parametrize("where", ["outside", "inside"])
@pytest.mark.parametrize(
    "name",
    [
        *("=evil.py", "=", "=4 files", "evil.py", "json.py", "sitecustomize.py", "✓ size", "é.py"),
        *("\x1b[2Jevil.py", "a\nb.py", "a\rb", "\u202eyp.live", "a\\b.py", "./evil.py", "a//b.py"),
        *("C:evil.py", "action/../evil.py", "action/evil.py", "action/sub/x.py", "lib/evil.py"),
        *("lib/9.9/x.py", "model/evil.py", "Manifest.json", "manifest.json/x", "x/", " ", "."),
        *("action/__pycache__/evil.cpython-311.pyc", "__pycache__/x.pyc", "PACKED.ZIP", "..", "~"),
        *(
            "x" * 300,
            "virtualenv/bin/activate_this.py",
            "exec",
            "main__.py",
            "bin/x",
            "packed.zip/x",
        ),
    ],
)
@pytest.mark.parametrize("is_listed", [False, True])
def test_names(files: Files, tmp_path: Path, name: str, where: str, is_listed: bool) -> None:
    """A file more, whether the manifest lists it or not: found, and shown without harm."""
    more = {**files, name: b"print('evil')\n"}
    if is_listed:
        more = listed(more)
    path = write(more, tmp_path / "a.zip", forced={name: where})
    report = outcome(path)
    assert report is not None
    said = report.problems
    assert said
    assert all(line.isprintable() for line in said)


@settings(max_examples=60, **SLOW)  # type: ignore[arg-type]
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_name(files: Files, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    if name in files or name in (PACKED, "__main__.py") or len(name.encode()) > 60_000:
        return
    path = tmp_path_factory.mktemp("names") / "a.zip"
    assert not passes(write({**files, name: b""}, path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@settings(max_examples=150, **SLOW)  # type: ignore[arg-type]
@given(data=st.data())
def test_manifests(files: Files, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Anything in the place of any value, key or list: no crash; a file more is always found."""
    manifest = json.loads(files["manifest.json"])
    for _ in range(data.draw(st.integers(1, 3))):
        spots = list(_spots(manifest))
        holder, key = data.draw(st.sampled_from(spots))
        change = data.draw(st.sampled_from(["set", "delete", "rename"]))
        if change == "set":
            holder[key] = data.draw(JSON)
        elif change == "delete":
            del holder[key]
        elif isinstance(holder, dict):
            holder[data.draw(st.text(max_size=8))] = holder.pop(key)
        if not isinstance(manifest, dict) or not list(_spots(manifest)):
            break
    path = tmp_path_factory.mktemp("manifests") / "a.zip"
    changed = {**files, "manifest.json": json.dumps(manifest, separators=(",", ":")).encode()}
    outcome(write(changed, path))
    assert not passes(write({**changed, "action/evil.py": b""}, path))


def _spots(value: Any) -> Any:
    """Every (holder, key) in a value of JSON, but few of the many files."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for number, (key, inner) in enumerate(list(items)):
        if number < 12:
            yield value, key
        if isinstance(inner, (dict, list)) and number < 4:
            yield from _spots(inner)


def write_with_manifest(files: Files, changes: dict[str, Any], folder: Path) -> Path:
    manifest = {**json.loads(files["manifest.json"]), **changes}
    content = json.dumps(manifest, separators=(",", ":")).encode()
    return write({**files, "manifest.json": content}, folder / "a.zip")


@pytest.mark.parametrize(
    "changes",
    [
        {"python": "3.11"},
        {"python": [["3.11"]]},
        {"memory": "128"},
        {"memory": True},
        {"executionEnv": None},
        {"more": 1},
        {"schema": 1},
        {"parts": [{}]},
    ],
)
def test_other_manifests_are_refused(files: Files, tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_with_manifest(files, changes, tmp_path)
    with pytest.raises(BuildError, match="not a manifest of schema 2"):
        audit_zip(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"python": ["2.7"]}, "expected Python 3.10, 3.11, 3.12, 3.13, found 2.7"),
        ({"python": ["3.11", "9.9"]}, "found 9.9"),
        ({"python": []}, "3.13, found none"),
        ({"executionEnv": "x"}, "exec: expected a script"),
    ],
)
def test_manifests_of_other_runtimes(
    files: Files, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = write_with_manifest(files, changes, tmp_path)
    problems = audit_zip(path).problems
    assert any(said in line for line in problems), problems


def test_json_that_readers_take_differently(files: Files, tmp_path: Path) -> None:
    text = files["manifest.json"].decode()
    for changed in (
        text.replace('"parts"', '"parts": [], "parts"', 1),
        "[" * 100_000,
        '{"schema": ' + "1" * 5000 + "}",
        text.replace("{", "{", 1).replace('"python"', '"py\\ud800thon"', 1),
    ):
        path = write({**files, "manifest.json": changed.encode()}, tmp_path / "a.zip")
        assert not passes(path)


def test_zips_that_unpack_to_much(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(6):
            archive.writestr(f"{number}", bytes(100 << 20))
    with pytest.raises(BuildError, match="more than 2000 files or 536870912 bytes"):
        audit_zip(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression(files: Files, tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("__main__.py", "def main(params): ...\n" * 100)
    assert not passes(path)


def test_libraries_and_settings_of_any_bytes(files: Files, tmp_path: Path) -> None:
    rng = random.Random(6)
    python = json.loads(files["manifest.json"])["python"][0]
    for number in range(60):
        junk = rng.choice([b"\x7fELF", b"", b"{", b"[1", b'{"labels": 5}', b"[]", b"null", b'"x"'])
        junk += rng.randbytes(rng.choice((0, 0, 5, 200)))
        name = rng.choice(["model/model.json", f"lib/{python}/x.so", f"lib/{python}/index.json"])
        path = write(listed({**files, name: junk}), tmp_path / f"{number}.zip")
        assert not passes(path), (name, junk)
