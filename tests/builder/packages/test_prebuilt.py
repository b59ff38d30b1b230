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
from builder.packages import DEFAULT_OPTIONS, RuntimeOptions, compiled, prebuilt, providers
from tests.conftest import HERE
from tests.support.compiled import write_packages
from tests.support.server import File, serving


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use empty folders as the cache of compiled packages and for downloads."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(compiled, "COMPILED", folder)
    monkeypatch.setattr(prebuilt, "DOWNLOADS", tmp_path / "downloads")
    return folder


def compile_something() -> Path:
    """Write small packages into the cache, as a compiler leaves them."""
    folder = write_packages(compiled.cache_folder(HERE, DEFAULT_OPTIONS))
    (folder / compiled.HASHES).write_text(compiled.hash_files(folder))
    return folder


@pytest.fixture
def exported(cache: Path, tmp_path: Path, console: Console) -> Path:
    """Return an exported file whose packages are no longer in the cache."""
    compile_something()
    target = tmp_path / "runtime.zip"
    prebuilt.export(HERE, DEFAULT_OPTIONS, target)
    shutil.rmtree(cache)
    return target


def test_an_imported_runtime_equals_the_exported_one(
    cache: Path, tmp_path: Path, console: Console
) -> None:
    folder = compile_something()
    compiled_here = compiled.load(HERE, DEFAULT_OPTIONS)
    before = compiled.read_files(HERE, DEFAULT_OPTIONS)
    one, other = tmp_path / "one.zip", tmp_path / "other.zip"
    sha256 = prebuilt.export(HERE, DEFAULT_OPTIONS, one)
    assert sha256 == hashlib.sha256(one.read_bytes()).hexdigest()
    for path in folder.rglob("*"):  # another time, other rights, another order
        path.touch()
        path.chmod(0o700)
    assert prebuilt.export(HERE, DEFAULT_OPTIONS, other) == sha256
    assert one.stat().st_size < 200_000 < sum(map(len, before.values()))
    shutil.rmtree(cache)
    runtime = prebuilt.import_packages(str(one), console)
    assert compiled.read_files(HERE, DEFAULT_OPTIONS) == before
    assert runtime == replace(compiled_here, origin=f"prebuilt, from one.zip (sha256 {sha256})")
    assert any(sha256 in note for note in console.notes)
    # The cache keeps the origin; another export gives the same file.
    assert providers.auto(HERE, DEFAULT_OPTIONS, console).origin == runtime.origin
    assert prebuilt.export(HERE, DEFAULT_OPTIONS, other) == sha256


def test_a_download_needs_its_sha256(exported: Path, console: Console) -> None:
    content = exported.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    with serving({"/r/runtime.zip": File(content), "/r/other.zip": File(b"x")}) as server:
        url = f"{server.url}/r/runtime.zip"
        for wrong in (url, f"{url}#sha256=12", f"{url}#md5={sha256}"):
            with pytest.raises(BuildError, match="#sha256=HEX"):
                prebuilt.import_packages(wrong, console)
        assert server.requests == []
        with pytest.raises(BuildError, match="expected sha256"):
            prebuilt.import_packages(f"{server.url}/r/other.zip#sha256={sha256}", console)
        assert not compiled.is_cached(HERE, DEFAULT_OPTIONS)
        runtime = prebuilt.import_packages(f"{url}#sha256={sha256}", console)
    assert runtime.origin == f"prebuilt, from {url} (sha256 {sha256})"


def test_prebuilt_takes_the_pinned_file_of_this_recipe(
    exported: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(exported.read_bytes()).hexdigest()
    with serving({"/runtime.zip": File(exported.read_bytes())}) as server:
        pin = {"url": f"{server.url}/runtime.zip", "sha256": sha256, "key": "other"}
        monkeypatch.setattr(prebuilt, "published", lambda: {HERE: pin})
        with pytest.raises(BuildError, match="are of recipe other"):
            prebuilt.provide(HERE, DEFAULT_OPTIONS, console)
        pin["key"] = compiled.recipe_key()
        for _ in range(2):  # the second time from the cache
            assert sha256 in prebuilt.provide(HERE, DEFAULT_OPTIONS, console).origin
        assert server.requests == ["/runtime.zip"]


def test_packages_that_do_not_exist_are_refused(
    cache: Path, tmp_path: Path, console: Console
) -> None:
    for pin in prebuilt.published().values():
        assert set(pin) == {"url", "sha256", "key"}
    with pytest.raises(BuildError, match="no release has .* with --ops all") as error:
        prebuilt.provide(HERE, RuntimeOptions("all"), console)
    assert "runtime import FILE" in error.value.hint
    with pytest.raises(BuildError, match="expected compiled packages") as error:
        prebuilt.export(HERE, DEFAULT_OPTIONS, tmp_path / "a.zip")
    assert "--runtime container" in error.value.hint
    with pytest.raises(BuildError, match="expected a file or an address"):
        prebuilt.import_packages(str(tmp_path / "none"), console)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("runtime.json", None, "expected a file that 'runtime export' wrote"),
        ("runtime.json", b"[1]", "expected a file that 'runtime export' wrote"),
        ("runtime.json", b"{}" * 9, "expected a file that 'runtime export' wrote"),
        ("runtime.json", {"schema": "2"}, "expected schema 1"),
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
        prebuilt.import_packages(str(exported), console)
    assert not compiled.is_cached(HERE, DEFAULT_OPTIONS)
    assert not (tmp_path / "evil.py").exists()


def test_an_encrypted_or_truncated_file_is_refused(exported: Path, console: Console) -> None:
    content = exported.read_bytes()
    encrypted = bytearray(content)
    encrypted[content.rindex(b"PK\1\2") + 8] |= 1
    for damaged, text in ((encrypted, "is encrypted"), (content[:-30], "or a truncated one")):
        exported.write_bytes(damaged)
        with pytest.raises(BuildError, match=text):
            prebuilt.import_packages(str(exported), console)


def test_changed_packages_and_a_cache_of_others_are_refused(
    cache: Path, exported: Path, console: Console
) -> None:
    runtime = prebuilt.import_packages(str(exported), console)
    cache.chmod(0o777)
    with pytest.raises(BuildError, match="expected a folder that only you can write to") as error:
        compiled.load(HERE, DEFAULT_OPTIONS)
    assert f"chmod go-w {cache}" in error.value.hint
    cache.chmod(0o755)
    assert compiled.load(HERE, DEFAULT_OPTIONS) == runtime
    (runtime.folder / "numpy" / "__init__.py").write_text("import evil")
    with pytest.raises(BuildError, match="expected the files that SHA256SUMS lists"):
        compiled.load(HERE, DEFAULT_OPTIONS)
