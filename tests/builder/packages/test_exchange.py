"""Compiled packages in a file: exported, imported, refused if they are not this recipe's."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.base.console import Console
from builder.base.errors import BuildError
from builder.packages import DEFAULT_OPTIONS, compiled, exchange, providers
from tests.conftest import HERE
from tests.support.compiled import write_packages


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a cache of compiled packages that has small ones, as a compiler leaves them."""
    monkeypatch.setattr(compiled, "COMPILED", tmp_path / "cache")
    folder = write_packages(compiled.cache_folder(HERE, DEFAULT_OPTIONS))
    (folder / compiled.HASHES).write_text(compiled.hash_files(folder))
    return tmp_path / "cache"


@pytest.fixture
def exported(cache: Path, tmp_path: Path) -> Path:
    """Return an exported file whose packages are no longer in the cache."""
    target = tmp_path / "runtime.zip"
    exchange.export(HERE, DEFAULT_OPTIONS, target)
    shutil.rmtree(cache)
    return target


def test_an_imported_runtime_equals_the_exported_one(
    cache: Path, tmp_path: Path, console: Console
) -> None:
    compiled_here = compiled.load(HERE, DEFAULT_OPTIONS)
    before = compiled.read_files(HERE, DEFAULT_OPTIONS)
    one, other = tmp_path / "one.zip", tmp_path / "other.zip"
    sha256 = exchange.export(HERE, DEFAULT_OPTIONS, one)
    assert sha256 == hashlib.sha256(one.read_bytes()).hexdigest()
    for path in compiled_here.folder.rglob("*"):  # another time, other rights, another order
        path.touch()
        path.chmod(0o700)
    assert exchange.export(HERE, DEFAULT_OPTIONS, other) == sha256
    assert one.stat().st_size < 200_000 < sum(map(len, before.values()))
    shutil.rmtree(cache)
    with pytest.raises(BuildError, match="expected compiled packages") as error:
        exchange.export(HERE, DEFAULT_OPTIONS, other)
    assert "--runtime container" in error.value.hint
    runtime = exchange.import_packages(one, console)
    assert compiled.read_files(HERE, DEFAULT_OPTIONS) == before
    assert runtime == replace(compiled_here, origin=f"imported from one.zip (sha256 {sha256})")
    assert any(sha256 in note for note in console.notes)
    assert providers.auto(HERE, DEFAULT_OPTIONS, console) == compiled_here


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("runtime.json", None, "expected a file that 'runtime export' wrote"),
        ("runtime.json", b"[1]", "expected a file that 'runtime export' wrote"),
        ("runtime.json", b"{}" * 9, "expected a file that 'runtime export' wrote"),
        ("runtime.json", {"key": "0123"}, "found '0123'"),
        ("runtime.json", {"python": "/3.9"}, "Python '/3.9'"),
        ("runtime.json", {"ops": "../x"}, "operators '../x'"),
        ("recipe.json", None, "FileNotFoundError"),
        ("recipe.json", b"[", "JSONDecodeError"),
        ("recipe.json", b"[]", "TypeError"),
        ("recipe.json", {"sources": []}, "AttributeError"),
        ("recipe.json", {"sources": {}}, "KeyError: 'tensorflow'"),
        ("PIL/__init__.py", None, "no PIL/__init__.py"),
        ("licences/numpy.txt", None, "FileNotFoundError"),
        ("numpy", b"x", "a file and a folder, of one name"),
        ("../evil.py", b"x", "outside its folder"),
        ("/evil.py", b"x", "outside its folder"),
        ("a\\..\\evil.py", b"x", "outside its folder"),
    ],
)
def test_another_or_damaged_file_is_refused(
    name: str,
    content: bytes | dict[str, Any] | None,
    text: str,
    exported: Path,
    tmp_path: Path,
    console: Console,
) -> None:
    """Leave out an entry, replace it, or change values in its JSON."""
    with zipfile.ZipFile(exported) as archive:
        entries = {each: archive.read(each) for each in archive.namelist()}
    before = entries.pop(name, b"")
    if isinstance(content, dict):
        content = json.dumps(json.loads(before) | content).encode()
    if content is not None:
        entries[name] = content
    with zipfile.ZipFile(exported, "w") as archive:
        for each in entries.items():
            archive.writestr(*each)
    with pytest.raises(BuildError, match=text):
        exchange.import_packages(exported, console)
    assert not compiled.is_cached(HERE, DEFAULT_OPTIONS)
    assert not (tmp_path / "evil.py").exists()


def test_an_encrypted_or_truncated_file_is_refused(exported: Path, console: Console) -> None:
    content = exported.read_bytes()
    encrypted = bytearray(content)
    encrypted[content.rindex(b"PK\1\2") + 8] |= 1
    for damaged, text in ((encrypted, "is encrypted"), (content[:-30], "or a truncated one")):
        exported.write_bytes(damaged)
        with pytest.raises(BuildError, match=text):
            exchange.import_packages(exported, console)


def test_changed_packages_and_a_cache_of_others_are_refused(cache: Path) -> None:
    runtime = compiled.load(HERE, DEFAULT_OPTIONS)
    cache.chmod(0o777)
    with pytest.raises(BuildError, match="expected a folder that only you can write to") as error:
        compiled.load(HERE, DEFAULT_OPTIONS)
    assert f"chmod go-w {cache}" in error.value.hint
    cache.chmod(0o755)
    (runtime.folder / "numpy" / "__init__.py").write_text("import evil")
    with pytest.raises(BuildError, match="expected the files that SHA256SUMS lists"):
        compiled.load(HERE, DEFAULT_OPTIONS)
