"""The catalogue: its models are fetched from mirrors, proved, kept, and known by their hash."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from builder.base.console import Console
from builder.base.errors import DownloadError, ModelError
from builder.model import catalogue, known_models
from builder.model.resolve import ModelOptions, resolve_model
from tests.support.models import ColourModel
from tests.support.server import File, serving

MODEL = ColourModel(dtype="uint8")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tar_of(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return MODEL.write(tmp_path / "source.tflite").read_bytes()


@pytest.fixture(autouse=True)
def own_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(catalogue, "DOWNLOADS", tmp_path / "downloads")
    return tmp_path / "downloads"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("red\ngreen\nblue\n")
    return path


def entry(content: bytes, *sources: dict[str, str], file: str = "first.tflite") -> dict[str, Any]:
    return {
        "title": "a test model",
        "file": file,
        "sha256": digest(content),
        "licence": "CC0-1.0",
        "labels": "labels.txt",
        "mean": [0.0],
        "std": [255.0],
        "crop": 0.875,
        "sources": list(sources),
    }


def archive(server_url: str, name: str, packed: bytes) -> dict[str, str]:
    return {"url": f"{server_url}/{name}", "sha256": digest(packed), "member": "a/first.tflite"}


def test_from_the_second_mirror(
    content: bytes, tmp_path: Path, labels: Path, console: Console
) -> None:
    packed = tar_of("./a/first.tflite", content)
    with serving({"/m.tgz": File(packed, cut_at=[500])}) as server:
        sources = archive(server.url, "gone.tgz", packed), archive(server.url, "m.tgz", packed)
        known = {"first": entry(content, *sources)}
        found = resolve_model(
            "first", ModelOptions(labels), console, known, folder=tmp_path / "model"
        )
        assert found.path.read_bytes() == content
        requests = len(server.requests)
        resolve_model("first", ModelOptions(labels), console, known, folder=tmp_path / "model")
        assert len(server.requests) == requests
    assert found.settings.labels == ("red", "green", "blue")
    assert found.component.sha256 == digest(content)
    assert not list((tmp_path / "downloads").iterdir())  # the archive is not needed any more


@pytest.mark.parametrize("fault", ["other member", "wrong model", "not an archive", "wrong hash"])
def test_an_archive_that_is_not_what_it_should_be(
    fault: str, content: bytes, tmp_path: Path, labels: Path, console: Console
) -> None:
    packed = tar_of("other.tflite" if fault == "other member" else "a/first.tflite", content)
    packed = b"no tar" if fault == "not an archive" else packed
    with serving({"/m.tgz": File(packed)}) as server:
        source = archive(server.url, "m.tgz", b"x" if fault == "wrong hash" else packed)
        known = {"first": entry(content, source)}
        if fault == "wrong model":
            known["first"]["sha256"] = digest(b"another")
        with pytest.raises(DownloadError) as caught:
            resolve_model("first", ModelOptions(labels), console, known, folder=tmp_path / "model")
    said = {
        "other member": "holds no a/first.tflite",
        "wrong model": f"expected sha256 {digest(b'another')}, found {digest(content)}",
        "not an archive": "is not a tar archive",
        "wrong hash": f"expected sha256 {digest(b'x')}, found {digest(packed)}",
    }
    assert said[fault] in str(caught.value)
    assert "--model PATH" in caught.value.hint
    assert not list((tmp_path / "model").glob("*"))


def test_default_falls_back_and_says_so(
    content: bytes,
    tmp_path: Path,
    labels: Path,
    console: Console,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody asked for the first by name, so the next will do; by name it is an error."""
    packed = tar_of("a/first.tflite", content)
    with serving({"/m.tgz": File(packed)}) as server:
        known = {
            "first": entry(b"x", archive(server.url, "gone.tgz", packed)),
            "spare": entry(content, archive(server.url, "m.tgz", packed), file="spare.tflite"),
        }
        found = resolve_model(None, ModelOptions(labels), console, known, folder=tmp_path / "model")
        assert found.settings.name == "spare"
        said = capsys.readouterr().err
        assert "Could not download first; using spare" in said
        assert "--model first says why" in said
        with pytest.raises(DownloadError, match="HTTP status 404"):
            resolve_model("first", ModelOptions(), console, known, folder=tmp_path / "model")


def test_a_file_that_is_not_the_pinned_one_is_kept(
    content: bytes, tmp_path: Path, console: Console
) -> None:
    mine = tmp_path / "first.tflite"
    mine.write_bytes(b"mine")
    known = {"first": entry(content, {"url": "http://127.0.0.1:9/x", "sha256": digest(b"")})}
    with pytest.raises(ModelError, match=f"found {digest(b'mine')}") as caught:
        resolve_model(None, ModelOptions(), console, known, folder=tmp_path)
    assert "--model" in caught.value.hint
    assert mine.read_bytes() == b"mine"


def test_the_catalogue_is_complete() -> None:
    known = known_models()
    assert list(known)[0] == "mobilenet_v1"
    for name, about in known.items():
        assert len(about["sha256"]) == 64, name
        assert about["licence"] and about["labels"] and about["sample"].startswith("n")
        for source in about["sources"]:
            assert len(source["sha256"]) == 64
            assert source.get("url", "https://").startswith(("https://", "http://"))


def test_a_copy_of_a_catalogue_model_is_known_by_its_hash(
    content: bytes, tmp_path: Path, labels: Path, console: Console
) -> None:
    known = {"first": entry(content, archive("http://127.0.0.1:9", "m.tgz", b""))}
    copy = tmp_path / "copy of it.tflite"
    copy.write_bytes(content)
    found = resolve_model(str(copy), ModelOptions(labels), console, known)
    assert found.settings.name == "first"
    assert found.settings.std == (255.0,)
