"""A model's operators and versions, against what each interpreter registers."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from builder import build
from builder.base.console import Console
from builder.base.errors import ModelError
from builder.model.compatibility import check_operators, find_missing_operators
from builder.model.metadata import Metadata
from builder.model.normalization import Normalization
from builder.model.resolve import ModelOptions
from builder.model.tflite import TFLiteModel, pack_model, parse_model
from builder.packages.operator_versions import of_compiled, of_wheels, table
from builder.packages.wheels import read_pins
from tests.conftest import HERE
from tests.support.models import DenseModel, Graph
from tools.operators import probe


def model_with(**versions: int) -> TFLiteModel:
    """Return a model that needs these operators."""
    return TFLiteModel("m.tflite", (), (), (), versions, Metadata(), None)


def hybrid(kind: str, shape: tuple[int, ...], scales: int, version: int = 12) -> TFLiteModel:
    """Return an operator of float32 inputs, whose int8 weights have so many scales."""
    graph = Graph()
    source = graph.tensor((1, 4))
    weights = graph.tensor(shape, "int8", 0.5, 0, np.ones(shape, np.int8))
    graph.tensors[-1].quantization = schema.QuantizationParametersT(
        scale=np.full(scales, 0.5, np.float32), zeroPoint=np.zeros(scales, np.int64)
    )
    x = graph.operator(kind, [source, weights], (1, 3), version=version)
    return parse_model(graph.file([source], [x]), "m.tflite")


def test_table_is_of_the_pinned_wheels() -> None:
    """The table is that of the pinned wheels, and of the interpreter in this environment."""
    [pin] = [each for each in read_pins()["wheels"]["package"] if each["name"] == "ai-edge-litert"]
    pinned = {each["version"] for each in pin["files"].values()}
    assert pinned == {table()["ai-edge-litert"]["version"]} == {version(pin["name"])}
    assert of_wheels() == probe()


def test_unused_operators_count_if_listed(tmp_path: Path) -> None:
    """An interpreter looks for them all when it loads the model."""
    made = parse_model(DenseModel().write(tmp_path / "m.tflite").read_bytes(), "m.tflite").tables
    number = schema.BuiltinOperator.CUMSUM
    made.operatorCodes.append(schema.OperatorCodeT(min(number, 127), None, 1, number))
    listed = parse_model(pack_model(made), "m.tflite")
    assert find_missing_operators(listed, of_compiled("classifier")) == [
        "CUMSUM version 1 (it has none)"
    ]


def test_names_and_versions_are_compared() -> None:
    ours = of_compiled("classifier")
    assert find_missing_operators(model_with(CONV_2D=7, SOFTMAX=3), ours) == []
    assert find_missing_operators(model_with(CONV_2D=8), ours) == [
        "CONV_2D version 8 (it has 1 to 7)"
    ]
    assert find_missing_operators(model_with(CUMSUM=1), ours) == ["CUMSUM version 1 (it has none)"]
    with pytest.raises(ModelError, match=r"CONV_2D version 8 \(it has 1 to 7\)") as caught:
        check_operators(model_with(CONV_2D=8), ours, "ours")
    assert "--runtime wheels" in caught.value.hint and "--ops all" not in caught.value.hint
    with pytest.raises(ModelError, match="CUMSUM version 1") as caught:
        check_operators(model_with(CUMSUM=1), ours, "ours")
    assert "--ops all" in caught.value.hint and "--runtime wheels" in caught.value.hint
    with pytest.raises(ModelError, match="SOFTMAX version 99") as caught:
        check_operators(model_with(SOFTMAX=99), of_wheels(), "the wheels")
    assert "convert the model for an older" in caught.value.hint


def test_hybrid_layers_with_several_scales_are_refused() -> None:
    """Version 12 marks them; the compiled kernel has one scale for float32 inputs."""
    ours, dense = of_compiled("classifier"), ("FULLY_CONNECTED", (3, 4))
    assert find_missing_operators(hybrid(*dense, 1), ours) == []
    assert find_missing_operators(hybrid(*dense, 3), of_wheels()) == []
    for marked in (3, 12):
        with pytest.raises(ModelError, match="int8 weights that have several scales") as caught:
            check_operators(hybrid(*dense, 3, marked), ours, "ours")
        assert caught.value.hint.startswith("--runtime wheels")


@pytest.mark.parametrize("known", [of_compiled("classifier"), of_wheels()])
def test_hybrid_depthwise_layers_with_one_scale_are_refused(known: dict[str, int]) -> None:
    """Their kernel reads a scale per channel: it answered differently from run to run."""
    depthwise = ("DEPTHWISE_CONV_2D", (1, 3, 3, 4))
    assert find_missing_operators(hybrid(*depthwise, 4, 6), known) == []
    assert find_missing_operators(hybrid("DEPTHWISE_CONV_2D", (1, 3, 3, 1), 1, 6), known) == []
    with pytest.raises(ModelError, match="int8 weights that have one scale") as caught:
        check_operators(hybrid(*depthwise, 1, 6), known, "this interpreter")
    assert caught.value.hint.startswith("convert the model with a scale per channel")


def test_build_stops_before_compiling_if_an_operator_is_missing(
    tmp_path: Path, console: Console
) -> None:
    """The error comes before minutes of work, whether or not the zip is invoked."""
    with pytest.raises(ModelError, match=r"lacks: EXP version 1 .*, SUM version 1") as caught:
        build.build(config(tmp_path, "local"), console)
    assert "--ops all" in caught.value.hint and "--runtime wheels" in caught.value.hint
    assert not (tmp_path / "a.zip").exists()


def test_auto_takes_wheels_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = build.build(config(tmp_path, "auto"), Console(quiet=True))
    assert "needs operators that a compiled interpreter lacks: EXP" in capsys.readouterr().err
    assert not any(part.name == "tflite-runtime" for part in outcome.audit.components)


def config(folder: Path, provider: str) -> build.BuildConfig:
    """Return a build of a model that computes its softmax by EXP, SUM and DIV."""
    names = folder / "labels.txt"
    names.write_text("a\nb\nc\n")
    model = DenseModel(head="decomposed").write(folder / "m.tflite")
    said = ModelOptions(names, Normalization((0.0,), (255.0,)))
    return build.BuildConfig(
        (HERE,), folder / "a.zip", str(model), said, provider=provider, smoke=False, keep=False
    )
