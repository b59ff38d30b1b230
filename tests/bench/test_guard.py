"""The guard: its limits, and that it finds regressions that are put into a zip."""

from __future__ import annotations

import datetime
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import guard
from bench.machine import CPU_CLASSES
from bench.measure.size import size_of_zip
from bench.peers.peer import PYTHON
from builder.artifact import platform
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.toml import read_toml
from builder.model import known_models
from builder.packages import DEFAULT_OPTIONS, wheels
from tests.conftest import interpreter

NAMES = {"zip_bytes", "unpacked_bytes", "files", "imports", "warm_ratio"}


@pytest.fixture(scope="module")
def archive(make_zip: Callable[..., Path], imagenet_model: str) -> Path:
    interpreter(PYTHON)
    return make_zip(PYTHON, imagenet_model, provider="wheels")


@pytest.fixture(autouse=True)
def fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The regressions here are large: few rounds show them."""
    monkeypatch.setattr(guard, "ROUNDS", 50)
    monkeypatch.setattr(guard, "TRIES", 1)


@pytest.fixture(scope="module")
def packages() -> Path:
    return wheels.provide(PYTHON, DEFAULT_OPTIONS, Console(quiet=True)).folder


def inject(archive: Path, folder: Path, code: str) -> Path:
    """Return a copy of a zip with code at the end of `__main__.py`, and one more file."""
    copy = folder / "injected.zip"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(copy, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == "__main__.py":
                content += code.encode()
            new.writestr(info, content, zipfile.ZIP_STORED)
        new.writestr("extra.py", "")
    return copy


def test_measurement_against_its_limit() -> None:
    tolerance = {"zip_bytes": {"share": 0.02}, "imports": {"more": 3.0}}
    for name, measured, verdict in (
        ("zip_bytes", 1020, "ok"),
        ("zip_bytes", 1021, "too much"),
        ("zip_bytes", 979, "ok, far below: lower the baseline"),
        ("imports", 1003, "ok"),
        ("imports", 1004, "too much"),
    ):
        [check] = guard.set_limits({name: measured}, {name: 1000.0}, tolerance)
        assert str(check).startswith(name) and str(check).endswith(f"  {verdict}")
        assert check.ok == (verdict != "too much")


def test_limits_are_complete() -> None:
    limits = read_toml(guard.LIMITS)
    tolerance = limits.pop("tolerance")
    assert tolerance.keys() == {*NAMES, "litert_ratio"}
    assert limits.keys() == known_models().keys()
    for model in limits.values():
        assert model.keys() == {"compiled", "wheels"}
        ratios = model["compiled"].pop("litert_ratio")
        assert ratios.keys() <= {each.slug for each in CPU_CLASSES}
        assert all(0 < ratio < 1 for ratio in ratios.values())
        for baselines in model.values():
            assert isinstance(baselines.pop("measured"), datetime.date)
            assert baselines.keys() == NAMES
            assert baselines["zip_bytes"] < platform.zip_limit()


def test_baselines_by_model_and_cpu_class() -> None:
    limits = read_toml(guard.LIMITS)
    mobilenet = ("mobilenet_v1_1.0_224_quant", "compiled")
    assert guard.select_baselines(limits, *mobilenet, "avx2")["litert_ratio"] < 0.6
    assert guard.select_baselines(limits, *mobilenet, "older").keys() == NAMES
    with pytest.raises(BuildError, match="expected one of mobilenet_v1, .*, found flowers"):
        guard.select_baselines(limits, "flowers", "compiled", "avx2")


def test_one_more_file_and_import_are_found(archive: Path, tmp_path: Path) -> None:
    python = interpreter(PYTHON)
    before, imports = size_of_zip(archive).files, guard.list_imports(archive, python)
    assert {"main__", "numpy", "action.activation"} <= {*imports}
    assert not {"sys", "builtins", "posix"} & {*imports}
    larger = inject(archive, tmp_path, "import extra, xml.dom.minidom\n")
    added = {*guard.list_imports(larger, python)} - {*imports}
    assert {"extra", "xml.dom.minidom"} <= added
    measured = {"files": size_of_zip(larger).files, "imports": len(imports) + len(added)}
    baselines = {"files": before, "imports": len(imports)}
    checks = guard.set_limits(measured, baselines, read_toml(guard.LIMITS)["tolerance"])
    assert not any(check.ok for check in checks)


def test_slower_activation_is_found(
    archive: Path, imagenet_model: str, packages: Path, tmp_path: Path
) -> None:
    """Four times the work is too much wherever an activation is longer than an inference."""
    again = "\n_once = main\n\ndef main(params):\n    return [_once(params) for _ in range(4)][0]\n"
    slower = inject(archive, tmp_path, again)
    ratio = guard.warm_ratio(slower, interpreter(PYTHON), packages)
    limits = read_toml(guard.LIMITS)
    baselines = guard.select_baselines(limits, Path(imagenet_model).stem, "wheels", "avx2")
    [check] = guard.set_limits({"warm_ratio": ratio}, baselines, limits["tolerance"])
    assert not check.ok, check


def test_slower_interpreter_is_found(archive: Path, packages: Path, tmp_path: Path) -> None:
    """One interpreter runs each inference twice."""
    slower = tmp_path / "slower"
    shutil.copytree(packages, slower, symlinks=True)
    path = slower / "ai_edge_litert" / "interpreter.py"
    twice = "\n_once = Interpreter.invoke\n\ndef _twice(self):\n  _once(self)\n  _once(self)\n"
    path.write_text(path.read_text("utf-8") + twice + "\nInterpreter.invoke = _twice\n")
    assert guard.interpreter_ratio(archive, interpreter(PYTHON), slower, packages) > 1.4


def test_guard_from_end_to_end(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    imagenet_model: str,
) -> None:
    interpreter(PYTHON)
    limits = tmp_path / "limits.toml"
    # Other tests share the machine, so ratios must pass.
    text = re.sub(r"\b(warm_ratio|avx[-\w]*) = \d", r"\1 = 99", guard.LIMITS.read_text())
    limits.write_text(text)
    monkeypatch.setattr(guard, "LIMITS", limits)
    guard.run(["--model", imagenet_model])
    output = capsys.readouterr().out
    assert {line.split()[0] for line in output.splitlines()} >= NAMES
    assert "too much" not in output
    limits.write_text(re.sub(r"(?m)^files = \d+", "files = 1", text))
    with pytest.raises(BuildError, match="too much: files") as raised:
        guard.run(["--model", imagenet_model])
    assert "raise the baseline in" in raised.value.hint
