"""The catalogue's models are downloaded, checked by their hash, and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from builder.base.console import Console
from builder.base.errors import DownloadError, ModelError
from builder.model import catalogue
from builder.model.catalogue import ModelFile, find_model
from tests.builder.model.conftest import tar_of
from tests.support.server import File, serving

CONTENT = b"a model"
PACKED = tar_of("./a/m.tflite", CONTENT)


@pytest.fixture
def find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: Console) -> Any:
    """Find a model in a catalogue, with folders of the test's own."""
    monkeypatch.setattr(catalogue, "DOWNLOADS", tmp_path / "downloads")

    def find(wanted: str | None, known: dict[str, Any]) -> ModelFile:
        return find_model(wanted, console, known, tmp_path / "model")

    return find


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def entry(*urls: str) -> dict[str, Any]:
    sources = [{"url": url, "sha256": digest(PACKED), "member": "a/m.tflite"} for url in urls]
    return {"file": "m.tflite", "sha256": digest(CONTENT), "sources": sources}


def test_second_source_is_used_if_the_first_fails(find: Any, tmp_path: Path) -> None:
    with serving({"/m.tgz": File(PACKED, cut_at=[500])}) as server:
        known = {"first": entry(f"{server.url}/gone.tgz", f"{server.url}/m.tgz")}
        found = find("first", known)
        assert (found.name, found.sha256) == ("first", digest(CONTENT))
        assert found.path.read_bytes() == CONTENT
        requests = len(server.requests)
        assert find("first", known) == found
        assert len(server.requests) == requests
    assert not list((tmp_path / "downloads").iterdir())  # the archive is not needed any more


def test_default_falls_back_with_a_warning(find: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with serving({"/m.tgz": File(PACKED)}) as server:
        known = {
            "first": entry(f"{server.url}/gone.tgz"),
            "spare": entry(f"{server.url}/m.tgz"),
        }
        with pytest.raises(DownloadError, match="first could not be downloaded") as caught:
            find("first", known)
        assert f"put the file with sha256 {digest(CONTENT)} at " in caught.value.hint
        spare = find(None, known)
        assert (spare.name, spare.instead_of) == ("spare", "first")
        assert "Could not download first; using spare" in capsys.readouterr().err


def test_file_that_is_not_the_pinned_one_is_kept(find: Any, tmp_path: Path) -> None:
    mine = tmp_path / "model" / "m.tflite"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(ModelError, match=f"found {digest(b'mine')}") as caught:
        find(None, {"first": entry()})
    assert "--model" in caught.value.hint
    assert mine.read_bytes() == b"mine"


def test_copy_of_a_catalogue_model_is_known_by_its_hash(find: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy of it.tflite"
    copy.write_bytes(CONTENT)
    assert find(str(copy), {"first": entry()}).name == "first"
    copy.write_bytes(b"another")
    assert find(str(copy), {"first": entry()}).name == ""
