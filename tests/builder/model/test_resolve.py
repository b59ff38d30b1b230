"""What becomes of --model: labels, card and provenance; or a refusal that names the remedy."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.metadata import AXIS_LABELS
from builder.model.resolve import ModelOptions, resolve_model, strip_final_activation
from builder.model.settings import ModelSettings
from builder.model.tflite import pack_model, parse_model, read_model
from tests.builder.model.conftest import ZERO_TO_ONE, Resolver, answers, dense, softmax
from tests.support.models import ColourModel, Graph

MODEL = ColourModel(dtype="uint8")
PICTURE = (1, 96, 96, 3)
Shapes = list[tuple[int, ...]]


def model_of(
    inputs: Shapes, outputs: Shapes, kind: str = "RESHAPE", name: str = "", custom: str = ""
) -> bytes:
    """Return a model of any inputs and outputs, which does not run."""
    graph = Graph()
    sources = [graph.tensor(shape) for shape in inputs]
    tensors = [graph.tensor(shape, name=name) for shape in outputs]
    results = [graph.operator(kind, sources[:1], each, custom=custom) for each in tensors]
    return graph.file(sources, results)


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        ([PICTURE], [(1, 10, 4), (1, 10)], "expected one output, .* found 2: .*detectors"),
        ([PICTURE], [(1, 84, 8400)], r"shape \[1, classes\], .*detectors"),
        ([PICTURE], [(1, 96, 96, 21)], "segmenters"),
        ([PICTURE, (1, 4)], [(1, 3)], "expected one input, a picture, found 2"),
        ([(15600,)], [(1, 3)], r"expected an input of shape .* as for sound"),
        ([(1, 15600, 1)], [(1, 3)], "expected an input of shape"),
        ([(1, 96, 96, 4)], [(1, 3)], "expected an input of shape"),
        ([(1, 8, 96, 96, 3)], [(1, 3)], "expected an input of shape"),
        ([(8, 96, 96, 3)], [(8, 3)], "a batch of 1 picture, found 8"),
        ([(1, -1, -1, 3)], [(1, 3)], "expected an input of a fixed size, found"),
        ([(1, 2049, 2049, 3)], [(1, 3)], "at most 4,194,304 pixels"),
        ([(1, 2**31 - 1, 2**31 - 1, 3)], [(1, 3)], "at most 4,194,304 pixels"),
    ],
)
def test_other_kinds_are_told_by_their_shapes(
    inputs: Shapes, outputs: Shapes, text: str, resolved: Resolver
) -> None:
    check_refused(model_of(inputs, outputs, name="t"), text, resolved)


@pytest.mark.parametrize(
    ("kind", "custom", "text"),
    [
        ("CUSTOM", "TFLite_Detection_PostProcess", "TFLite_Detection_PostProcess.*a detector"),
        ("CUSTOM", "edgetpu-custom-op", "for Edge TPUs"),
        ("CUSTOM", "FlexErf", "without SELECT_TF_OPS"),
        ("CUSTOM", "Own", "builtin operators only"),
        ("L2_NORMALIZATION", "", "an embedding"),
        ("ARG_MAX", "", "the number of a class, by ARG_MAX"),
    ],
)
def test_other_kinds_are_told_by_their_operators(
    kind: str, custom: str, text: str, resolved: Resolver
) -> None:
    check_refused(model_of([PICTURE], [(1, 128)], kind, custom=custom), text, resolved)


def check_refused(model: bytes, text: str, resolved: Resolver) -> None:
    with pytest.raises(ModelError) as caught:
        resolved(model, ZERO_TO_ONE)
    assert re.search(text, f"{caught.value} / {caught.value.hint}")
    assert caught.value.hint


def test_damaged_files_are_refused(resolved: Resolver) -> None:
    content = MODEL.write(resolved.path).read_bytes()
    cuts = [content[: len(content) * part // 8] for part in range(1, 8)]
    for damaged in (b"", b"\x1c\0\0\0TFL3", b"PK\x03\x04" + bytes(50), content[:-1], *cuts):
        with pytest.raises(ModelError, match=r"m\.tflite is (not a|a broken) TFLite model") as no:
            resolved(damaged)
        assert no.value.hint
        assert "unpack" not in str(no.value) and "buffer" not in str(no.value)


def test_tables_that_are_listed_again_and_again_are_refused(resolved: Resolver) -> None:
    """8 kB can hold a thousand references to one graph with as many to one tensor."""
    builder = flatbuffers.Builder(0)

    def repeat(start: Callable[..., int], table: int) -> int:
        start(builder, 1000)
        for _ in range(1000):
            builder.PrependUOffsetTRelative(table)
        return int(builder.EndVector())

    schema.TensorStart(builder)
    tensors = repeat(schema.SubGraphStartTensorsVector, schema.TensorEnd(builder))
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graphs = repeat(schema.ModelStartSubgraphsVector, schema.SubGraphEnd(builder))
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    with pytest.raises(ModelError, match="to the same tables again and again"):
        resolved(bytes(builder.Output()))


def test_large_archive_behind_a_model_is_not_unpacked(resolved: Resolver) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as behind:
        behind.writestr("labels.txt", bytes(1 << 25))
    model = MODEL.write(resolved.path).read_bytes() + archive.getvalue()
    metadata = parse_model(model, "m.tflite").metadata
    assert metadata.archive == {}
    assert "expected at most 16777216 bytes" in metadata.problem


def test_unknown_names_are_refused(console: Console) -> None:
    with pytest.raises(ModelError, match="mobilenet_v1, efficientnet_lite0 or a .tflite file"):
        resolve_model("mobilnet_v1", ModelOptions(), console)


def test_labels_that_do_not_fit_are_refused(resolved: Resolver) -> None:
    resolved.labels.write_text("one\ntwo\nthree\nfour\nfive")
    for options, text in (
        ({"labels": None}, "has 3 classes and no labels"),
        ({}, r"expected 3 names, .*, found 5 \(lines 1 to 5"),
        ({"locale": "de"}, "--locale de: it chooses among labels inside"),
    ):
        with pytest.raises(ModelError, match=text):
            resolved(MODEL, **options)


def test_labels_inside_the_model_are_found(resolved: Resolver) -> None:
    path = MODEL.write(resolved.path)
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr("notes.txt", "made on a Tuesday\nwith care\nby hand\n")
    with pytest.raises(ModelError, match="has 3 classes and no labels"):
        resolved(path.read_bytes(), labels=None)
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr("score_calibration.txt", "0.9,0.5\n0.1,0.2\n0.3,0.4\n")
        appended.writestr("labels.txt", "rot\ngrün\nblau\n")
    found = resolved(path.read_bytes(), labels=None)
    assert found.settings.labels == ("rot", "grün", "blau")
    assert found.labels_component.source == "labels.txt inside m.tflite"
    assert found.labels_component.licence == "not stated"


def test_metadata_of_a_real_model_is_read(console: Console) -> None:
    """EfficientNet-Lite0 carries normalization and labels as TFLite metadata."""
    metadata = resolve_model("efficientnet_lite0", ModelOptions(), console).tflite.metadata
    assert (metadata.mean, metadata.std) == ((127.0,), (128.0,))
    [file] = metadata.files
    assert (file.name, file.kind) == ("labels_without_background.txt", AXIS_LABELS)
    assert len(metadata.archive[file.name].splitlines()) == 1000


def with_signatures(*names: str) -> bytes:
    """Return a model with a subgraph per signature; that of the second one takes blue for red."""
    tables = parse_model(dense(tail=softmax), "m.tflite").tables
    tables.signatureDefs = []
    for number, name in enumerate(names):
        graph = tables.subgraphs[0] if not number else deepcopy(tables.subgraphs[0])
        if number:
            tables.subgraphs.append(graph)
            kernel = next(each for each in graph.tensors if list(each.shape) == [3, 3])
            weights = tables.buffers[kernel.buffer].data.view(np.float32).reshape(3, 3)
            kernel.buffer = len(tables.buffers)
            tables.buffers.append(schema.BufferT(weights[::-1].copy().view(np.uint8).ravel()))
        ends = ([schema.TensorMapT(b"x", tensors[0])] for tensors in (graph.inputs, graph.outputs))
        tables.signatureDefs.append(schema.SignatureDefT(*ends, name.encode(), number))
    return pack_model(tables)


@pytest.mark.parametrize(
    ("names", "option", "chosen", "red"),
    [
        (("serving_default",), "", "serving_default", 0),
        (("other",), "", "other", 0),
        (("train", "serving_default"), "", "serving_default", 2),
        (("serving_default", "train"), "", "serving_default", 0),
        (("train", "infer"), "infer", "infer", 2),
        (("train", "serving_default"), "train", "train", 0),
    ],
)
def test_signature_is_that_of_serving_or_of_the_option(
    names: tuple[str, ...], option: str, chosen: str, red: int, resolved: Resolver
) -> None:
    found = resolved(with_signatures(*names), ZERO_TO_ONE, signature=option)
    assert found.tflite.signature == chosen
    assert len(read_model(found.path).tables.subgraphs) == 1
    assert answers(found)["red"].argmax() == red
    expected = f"{chosen} of {', '.join(names)}" if len(names) > 1 else None
    assert found.settings.card.get("signature") == expected


def test_unclear_signatures_are_refused(resolved: Resolver) -> None:
    looping = schema.ModelT.InitFromPackedBuf(with_signatures("train", "serving_default"))
    code, loop = looping.operatorCodes[0], schema.BuiltinOperator.WHILE
    code.builtinCode = code.deprecatedBuiltinCode = loop
    unclear = with_signatures("train", "infer")
    for content, option, text in (
        (pack_model(looping), "", "needs no other subgraph, found WHILE"),
        (unclear, "", "'serving_default', found 'train', 'infer'.*--signature NAME"),
        (unclear, "x", "--signature x: expected one of those in m.tflite, found"),
    ):
        with pytest.raises(ModelError) as caught:
            resolved(content, ZERO_TO_ONE, signature=option)
        assert re.search(text, f"{caught.value} {caught.value.hint}")


def test_card_says_what_was_decided(resolved: Resolver) -> None:
    assert strip_final_activation(resolved(ColourModel("uint8", softmax=True))).settings.card == {
        "input": "8 x 8 RGB, channels last, uint8; pixels enter as 0..1 (its scale and zero point "
        "hold 0..1)",
        "fit": "the whole picture, squashed to the model's size (the default; else --fit crop or "
        "--fit pad)",
        "output": "probabilities of 3 classes, as they are (its last operator is SOFTMAX); the "
        "function does the softmax, in float: its own knows 256 steps",
        "labels": "3 from labels.txt (lines of text): 'red' to 'blue'; no background class",
        "operators": "1 MEAN (version 2)",
    }


def test_settings_are_read_as_they_were_written(resolved: Resolver) -> None:
    found = resolved(MODEL)
    assert found.component.source == "m.tflite (given with --model)"
    assert found.labels_component.source == "labels.txt (given with --labels)"
    assert ModelSettings.from_json(found.settings.to_json()) == found.settings
    for content in (b"", b"[]", b"{}", b'{"name": "m"}', b"[" * 100_000):
        with pytest.raises(ValueError, match=r"."):
            ModelSettings.from_json(content)


@pytest.mark.parametrize(
    "name", ["my model.tflite", "model.json", "a b.TFLITE", "model", ".tflite"]
)
def test_file_in_the_zip_has_a_safe_name(name: str, resolved: Resolver, tmp_path: Path) -> None:
    resolved.path = tmp_path / name
    file = resolved(MODEL).settings.file
    assert re.fullmatch(r"[\w.-]+\.tflite", file) and file != "model.json"
