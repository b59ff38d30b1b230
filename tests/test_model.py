"""The model: from the catalogue or the user, its signature, its settings, and what is refused."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from builder import data, model
from builder.console import Console
from builder.errors import DownloadError, ModelError
from builder.model import Normalization, resolve
from builder.tflite import signature
from tests.models import Colours
from tests.server import File, serving

MODEL = Colours(dtype="uint8")


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
    monkeypatch.setattr(model, "DOWNLOADS", tmp_path / "downloads")
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
        found = resolve("first", labels, console, catalogue=known, folder=tmp_path / "model")
        assert found.path.read_bytes() == content
        requests = len(server.requests)
        resolve("first", labels, console, catalogue=known, folder=tmp_path / "model")
        assert len(server.requests) == requests
    assert found.settings["labels"] == ["red", "green", "blue"]
    assert found.part.sha256 == digest(content)
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
            resolve("first", labels, console, catalogue=known, folder=tmp_path / "model")
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
        found = resolve(None, labels, console, catalogue=known, folder=tmp_path / "model")
        assert found.settings["name"] == "spare"
        said = capsys.readouterr().err
        assert "first is not to be had, going on with spare" in said
        assert "HTTP status 404" in said
        assert "--model PATH" in said
        with pytest.raises(DownloadError, match="HTTP status 404"):
            resolve("first", None, console, catalogue=known, folder=tmp_path / "model")


def test_a_file_that_is_not_the_pinned_one_is_kept(
    content: bytes, tmp_path: Path, console: Console
) -> None:
    mine = tmp_path / "first.tflite"
    mine.write_bytes(b"mine")
    known = {"first": entry(content, {"url": "http://127.0.0.1:9/x", "sha256": digest(b"")})}
    with pytest.raises(ModelError, match=f"found {digest(b'mine')}") as caught:
        resolve(None, None, console, catalogue=known, folder=tmp_path)
    assert "--model" in caught.value.hint
    assert mine.read_bytes() == b"mine"


def test_the_catalogue_is_complete() -> None:
    known = data.catalogue()
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
    found = resolve(str(copy), labels, console, catalogue=known)
    assert found.settings["name"] == "first"
    assert found.settings["std"] == [255.0]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", Normalization((0.0,), (255.0,))),
        ("int8", Normalization((0.0,), (255.0,))),
        ("float32", Normalization((127.5,), (127.5,))),
    ],
)
def test_a_model_without_metadata(
    dtype: str, expected: Normalization, tmp_path: Path, labels: Path, console: Console
) -> None:
    path = Colours(dtype=dtype, softmax=True).write(tmp_path / "my model.tflite")
    found = resolve(str(path), labels, console)
    assert found.settings["mean"] == pytest.approx(expected.mean)
    assert found.settings["std"] == pytest.approx(expected.std)
    assert found.settings["file"] == "my_model.tflite"
    assert not found.settings["softmax"]
    given = Normalization((1.0,), (2.0,))
    assert resolve(str(path), labels, console, given).settings["mean"] == [1.0]


def test_labels_embedded_in_the_model(tmp_path: Path, console: Console) -> None:
    path = MODEL.write(tmp_path / "m.tflite")
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr("labels.txt", "rot\ngrün\nblau\n")
    assert resolve(str(path), None, console).settings["labels"] == ["rot", "grün", "blau"]


@pytest.mark.parametrize(
    ("want", "said"),
    [
        (MODEL.but(outputs=2), "one output (a score per class), found 1 and 2"),
        (MODEL.but(channels=4), "[1, height, width, 3 or 1], found uint8 [1, 8, 8, 4]"),
        (MODEL.but(channels=1), "expected an output of shape [1, classes], found uint8 [1, 1]"),
        (MODEL.but(batch=2), "a batch of 1 picture, found input uint8 [2, 8, 8, 3]"),
        (MODEL.but(dtype="int32"), "expected tensors of uint8, int8, float32, found picture: int"),
        (MODEL.but(custom="FlexConv"), "operators that are not built into TFLite: FlexConv"),
    ],
)
def test_a_signature_that_is_no_classifier(
    want: Colours, said: str, tmp_path: Path, labels: Path, console: Console
) -> None:
    path = want.write(tmp_path / "m.tflite")
    with pytest.raises(ModelError) as caught:
        resolve(str(path), labels, console)
    assert said in str(caught.value)


def test_not_a_model(tmp_path: Path, labels: Path, console: Console, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    for broken in (b"", b"\x1c\0\0\0TFL3", b"PK\x03\x04" + bytes(50), content[: len(content) // 2]):
        path.write_bytes(broken)
        with pytest.raises(ModelError, match=r"m\.tflite is (not a|a broken) TFLite model"):
            resolve(str(path), labels, console)
    with pytest.raises(ModelError, match="mobilenet_v1, efficientnet_lite0 or a .tflite file"):
        resolve("mobilnet_v1", labels, console)


def test_labels_that_do_not_fit(tmp_path: Path, labels: Path, console: Console) -> None:
    path = str(MODEL.write(tmp_path / "m.tflite"))
    with pytest.raises(ModelError, match="has 3 classes and no labels"):
        resolve(path, None, console)
    labels.write_text("one\ntwo\nthree\nfour\nfive")
    with pytest.raises(ModelError, match=r"expected 3 names .* or 2 .*, found 5 in "):
        resolve(path, labels, console)
    labels.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="--labels: expected a UTF-8 text file"):
        resolve(path, labels, console)
    with pytest.raises(ModelError, match="--labels: expected a UTF-8 text file"):
        resolve(path, tmp_path / "none.txt", console)


def test_metadata_of_the_real_thing(console: Console) -> None:
    """EfficientNet-Lite0 carries normalization and labels as TFLite metadata."""
    path = resolve("efficientnet_lite0", None, console).path
    about = signature(path)
    assert (about.mean, about.std) == ((127.0,), (128.0,))
    assert len(about.label_files["labels_without_background.txt"].splitlines()) == 1000
    assert about.probabilities
    assert not about.custom
