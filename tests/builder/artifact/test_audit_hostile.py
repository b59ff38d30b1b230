"""The audit of zips that are not ours: no crash, and nothing foreign passes.

Every zip here is ours with something changed; each is refused, or has a problem.
"""

from __future__ import annotations

import json
import random
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.artifact.audit import audit_zip
from builder.artifact.manifest import MANIFEST
from builder.base.archive import read_zip
from builder.base.errors import BuildError
from tests.conftest import HERE
from tests.support.zips import Files, with_manifest, without_libraries, write

SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def files(zip_path: Path) -> Files:
    """Return the files of a zip that passes, without libraries and with a model of a few bytes."""
    files = without_libraries(read_zip(zip_path).files)
    model = next(name for name in files if name.endswith(".tflite"))
    return with_manifest({**files, model: files[model][:2000]})


@pytest.fixture(scope="module")
def good(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write(files, tmp_path_factory.mktemp("good") / "a.zip")
    assert audit_zip(path).problems == []
    return path


def problems(path: Path) -> list[str]:
    """Return an audit's problems; the message, if it refuses the file."""
    try:
        return audit_zip(path).problems
    except BuildError as error:
        assert "is not a complete zip of build_zip.py" in str(error)
        return [str(error)]


def test_damaged_bytes_are_noticed(good: Path, tmp_path: Path) -> None:
    """Turn bits, overwrite, cut out, insert and repeat bytes, also in the zips' directories."""
    content = good.read_bytes()
    rng = random.Random(5)
    path = tmp_path / "a.zip"
    end = len(content)
    inner = content.rfind(b"PK\5\6", 0, end - 22)
    places = [rng.randrange(end) for _ in range(100)]
    places += [end - 1 - rng.randrange(2500) for _ in range(80)]
    places += [inner + 21 - rng.randrange(2500) for _ in range(80)]
    for at in places:
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
        assert changed == content or problems(path), at


def test_missing_bytes_and_bytes_around_the_entries_are_noticed(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    path = tmp_path / "a.zip"
    start = struct.unpack("<L", content[-6:-2])[0]
    for changed in (
        b"#!/bin/sh\nrm -rf /\n" + content,
        content + b"\n",
        content[:-2] + struct.pack("<H", 5) + b"hello",
        content[:start] + b"hidden" + content[start:-6] + struct.pack("<LH", start + 6, 0),
        content + content,
        *(content[: len(content) * tenths // 10] for tenths in (0, 3, 7)),
        content[:-1],
    ):
        path.write_bytes(changed)
        assert problems(path)


@pytest.mark.parametrize("place", ["outside", "inside"])
@pytest.mark.parametrize(
    "name",
    [
        *("=evil.py", "evil.py", "json.py", "sitecustomize.py", "✓ size", "é.py", "x" * 300),
        *("\x1b[2Jevil.py", "a\nb.py", "\u202eyp.live", "a\\b.py", "./evil.py", "a//b.py"),
        *("C:evil.py", "../escape.py", "/etc/passwd", "action/../evil.py", "action/evil.py"),
        *("lib/evil.py", "lib/9.9/x.py", "model/evil.py", "Manifest.json", "x/", " ", "."),
        *("action/__pycache__/evil.cpython-311.pyc", "PACKED.ZIP", "packed.zip/x", "exec"),
        *("main__.py", "requirements.txt", "virtualenv/bin/activate_this.py"),
    ],
)
def test_added_file_is_found_and_printable(
    files: Files, tmp_path: Path, name: str, place: str
) -> None:
    """Find a file more even if the manifest lists it; show its name without harm."""
    more = with_manifest({**files, name: b"print('evil')\n"})
    found = problems(write(more, tmp_path / "a.zip", places={name: place}))
    assert found
    assert all(line.isprintable() for line in found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@settings(max_examples=100, **SLOW)  # type: ignore[arg-type]
@given(data=st.data())
def test_any_manifest_is_read_or_refused(
    files: Files, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    """Put anything in place of values, keys and lists; a file more is always found."""
    manifest = json.loads(files[MANIFEST])
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(list(_list_places(manifest))))
        change = data.draw(st.sampled_from(["set", "delete", "rename"]))
        if change == "set":
            holder[key] = data.draw(JSON)
        elif change == "delete":
            del holder[key]
        elif isinstance(holder, dict):
            holder[data.draw(st.text(max_size=8))] = holder.pop(key)
        if not isinstance(manifest, dict) or not list(_list_places(manifest)):
            break
    content = json.dumps(manifest, separators=(",", ":")).encode()
    changed = {**files, MANIFEST: content, "action/evil.py": b""}
    assert problems(write(changed, tmp_path_factory.mktemp("manifests") / "a.zip"))


def _list_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (holder, key) of values in JSON, but few of the many files."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for number, (key, inner) in enumerate(list(items)):
        if number < 12:
            yield value, key
        if isinstance(inner, (dict, list)) and number < 4:
            yield from _list_places(inner)


def write_with_manifest(files: Files, changes: dict[str, Any], folder: Path) -> Path:
    manifest = {**json.loads(files[MANIFEST]), **changes}
    content = json.dumps(manifest, separators=(",", ":")).encode()
    return write({**files, MANIFEST: content}, folder / "a.zip")


@pytest.mark.parametrize(
    "changes",
    [
        *({"python": "3.11"}, {"python": [["3.11"]]}, {"memory": "128"}, {"memory": True}),
        *({"executionEnv": None}, {"more": 1}, {"schema": 1}, {"parts": [{}]}),
    ],
)
def test_manifest_of_another_form_is_refused(
    files: Files, tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = write_with_manifest(files, changes, tmp_path)
    with pytest.raises(BuildError, match="not a manifest of schema 2"):
        audit_zip(path)


@pytest.mark.parametrize("pythons", [["2.7"], [HERE, "9.9"], []])
def test_zip_for_other_pythons_is_refused(files: Files, tmp_path: Path, pythons: list[str]) -> None:
    path = write_with_manifest(files, {"python": pythons}, tmp_path)
    with pytest.raises(BuildError, match=r"expected Python 3\.10, .*, found (\d|none)"):
        audit_zip(path)


def test_json_that_readers_take_differently_is_refused(files: Files, tmp_path: Path) -> None:
    text = files[MANIFEST].decode()
    for changed in (
        text.replace('"parts"', '"parts": [], "parts"', 1),
        "[" * 100_000,
        '{"schema": ' + "1" * 5000 + "}",
        text.replace('"python"', '"py\\ud800thon"', 1),
    ):
        with pytest.raises(BuildError, match="not a manifest of schema 2"):
            audit_zip(write({**files, MANIFEST: changed.encode()}, tmp_path / "a.zip"))


def test_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(6):
            archive.writestr(f"{number}", bytes(100 << 20))
    with pytest.raises(BuildError, match="more than 2000 files or 536870912 bytes"):
        audit_zip(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("__main__.py", "def main(params): ...\n" * 100)
    with pytest.raises(BuildError, match=f"compression method {method}"):
        audit_zip(path)


def test_libraries_and_settings_of_any_bytes_are_found(files: Files, tmp_path: Path) -> None:
    rng = random.Random(6)
    for number in range(60):
        junk = rng.choice([b"\x7fELF", b"", b"{", b"[1", b'{"labels": 5}', b"[]", b"null", b'"x"'])
        junk += rng.randbytes(rng.choice((0, 0, 5, 200)))
        name = rng.choice(["model/model.json", f"lib/{HERE}/x.so", f"lib/{HERE}/index.json"])
        path = write(with_manifest({**files, name: junk}), tmp_path / f"{number}.zip")
        assert problems(path), (name, junk)
