"""Files of other kinds are recognized by their content, and each names its way out."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builder.base.errors import ModelError
from builder.model.file_format import recognize_format
from builder.model.labels import fit_labels
from builder.model.tflite import parse_model
from tests.builder.model.conftest import tar_of
from tests.support.models import ColourModel


def zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"content")
    return file.getvalue()


def saved_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(["red", "green"]))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "remedy"),
    [
        (zip_of("a.h5", "classifier.tflite"), "with classifier.tflite in", "--model classifier"),
        (gzip.compress(tar_of("lite/1.tflite"), mtime=0), "with lite/1.tflite in it", "tar -xf"),
        (bz2.compress(tar_of("saved_model.pb")), "SavedModel", "from_saved_model"),
        (zip_of("metadata.json", "config.json", "model.weights.h5"), "Keras", "from_keras_model"),
        (zip_of("best/data.pkl", "best/data/0"), "PyTorch", "litert-torch"),
        (zip_of("notes.txt"), "such as notes.txt", "unpack"),
        (zip_of("a.tflite")[:40], "a zip archive that cannot be read", "again"),
        (gzip.compress(b"red\ngreen\n", mtime=0), "compressed", "unpack"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), r"\.h5", "from_keras_model"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\0", "ONNX", "onnx2tf"),
        (b"\x08\x01\x12\x90\x10\x0a\x05", r"saved_model\.pb", "from_saved_model"),
        (b"\x0a\x1c\x0a\x05input\x12\x0bPlaceholder", "frozen", "from_frozen_graph"),
        (pickle.dumps({"a": 1}), "pickle", "load it"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch", "litert-torch"),
        (saved_array(), r"\.npy", r"\.tflite"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", "LFS", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html>", "HTML", "raw file"),
        (bytes(20), "zeros", "again"),
        (b'\xef\xbb\xbf{"error": "Not found"}', "JSON", "again"),
        (b"alignas(8) const unsigned char g_model[] = {0x1c,", "C source", "xxd"),
        (b"\x89PNG\r\n\x1a\n", "a picture", "--model"),
        (b"Entry not found", "a text file", "again"),
        (b"\x1c\0\0\0\x01\x02\x03\x04", "x1c", r"a \.tflite file"),
    ],
)
def test_what_is_no_model_is_named(content: bytes, name: str, remedy: str) -> None:
    with pytest.raises(ModelError, match=rf"m is not a TFLite model: .*{name}") as caught:
        parse_model(content, "m")
    assert re.search(remedy, caught.value.hint)


@pytest.mark.parametrize(
    ("content", "name", "remedy"),
    [
        (b"{\\rtf1\\ansi\nred\\\ngreen}", "RTF", "plain text"),
        (pickle.dumps(["red", "green"]), "pickle", r"json\.dump"),
        (saved_array(), "NumPy", r"tolist\(\)"),
        (gzip.compress(b"red\ngreen\n", mtime=0), "compressed", "unpack"),
        (zip_of("[Content_Types].xml", "xl/workbook.xml"), "Office", "CSV"),
        (b"item {\n  id: 1\n}\n", "protocol buffers", "one per line"),
        (b"names:\n  0: red\n  1: green\n", "YAML", "one per line"),
    ],
)
def test_what_holds_no_labels_is_named(content: bytes, name: str, remedy: str) -> None:
    with pytest.raises(ModelError, match=f"found .*{name}.* in labels.txt") as caught:
        fit_labels(content, "labels.txt", 2)
    assert re.search(remedy, caught.value.hint)


def test_models_and_labels_are_not_taken_for_others(tmp_path: Path) -> None:
    model = ColourModel().write(tmp_path / "m.tflite").read_bytes()
    recognized = recognize_format(model, "labels")
    assert recognized and "--model" in recognized.remedy
    for text in ("red\ngreen\n", "0: red\n", "<unk>\ncat\n", "[0] red\n", '["red"]', "MZ-80\n"):
        assert recognize_format(text.encode(), "labels") is None
