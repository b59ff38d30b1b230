"""The regression guard: what it compares, and that it finds what is put into a zip for it."""

from __future__ import annotations

import datetime
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import guard, machine
from bench.peers import peer as peers
from builder.artifact import platform
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.toml import read_toml
from builder.model import known_models
from builder.packages import DEFAULT_OPTIONS, wheels
from tests.conftest import interpreter

FIGURES = {"zip_bytes", "unpacked_bytes", "files", "imports", "warm_ratio"}
COMPILED = {*FIGURES, "kernels_ratio"}  # wheels have no kernels of ours
TOLERANCE = {"zip_bytes": {"share": 0.02}, "files": {"more": 0.0}, "imports": {"more": 3.0}}
BASELINE = {"zip_bytes": 1000.0, "files": 25.0, "imports": 100.0}


@pytest.fixture(scope="module")
def archive(make_zip: Callable[..., Path], imagenet_model: str) -> Path:
    interpreter(peers.PYTHON)
    return make_zip(peers.PYTHON, imagenet_model, provider="wheels")


@pytest.fixture(autouse=True)
def fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planted here is large: a third of the rounds shows it."""
    monkeypatch.setattr(guard, "ROUNDS", guard.ROUNDS // 3)


def planted(archive: Path, folder: Path, files: dict[str, str], code: str = "") -> Path:
    """A copy of a zip with more files, and with more code at the end of what starts."""
    copy = folder / "planted.zip"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(copy, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == "__main__.py":
                content += code.encode()
            new.writestr(info, content, zipfile.ZIP_STORED)  # quick
        for name, text in files.items():
            new.writestr(name, text)
    return copy


@pytest.mark.parametrize(
    ("name", "found", "ok", "low"),
    [
        ("zip_bytes", 1020, True, False),
        ("zip_bytes", 1021, False, False),
        ("zip_bytes", 980, True, False),
        ("zip_bytes", 979, True, True),
        ("files", 25, True, False),
        ("files", 26, False, False),
        ("files", 24, True, True),
        ("imports", 103, True, False),
        ("imports", 104, False, False),
        ("imports", 96, True, True),
    ],
)
def test_against_the_limit(name: str, found: float, ok: bool, low: bool) -> None:
    [check] = guard.compare({name: found}, BASELINE, TOLERANCE)
    assert check.ok == ok
    assert ("too much" in str(check)) == (not ok)
    assert ("lower the baseline" in str(check)) == low
    assert str(check).split()[0] == name


def test_the_limits_are_complete() -> None:
    limits = read_toml(guard.LIMITS)
    tolerance = limits.pop("tolerance")
    assert tolerance.keys() == COMPILED
    for allowed in tolerance.values():
        assert allowed.keys() <= {"more", "share"} and len(allowed) == 1
        assert all(value >= 0 for value in allowed.values())
    assert limits.keys() == known_models().keys()
    for model in limits.values():
        assert model.keys() == {"compiled", "wheels"}
        for source, baseline in model.items():
            assert isinstance(baseline.pop("measured"), datetime.date)
            assert baseline.keys() == (COMPILED if source == "compiled" else FIGURES)
            if source == "compiled":
                ratios = baseline.pop("kernels_ratio")
                assert {*ratios} == {"avx2", "avx512"}
                assert all(0 < ratio < 1 for ratio in ratios.values())
            assert all(value > 1 for value in baseline.values())
            assert baseline["zip_bytes"] < platform.zip_limit()


def test_which_limits() -> None:
    limits = read_toml(guard.LIMITS)
    found = guard.baselines(limits, "mobilenet_v1_1.0_224_quant", "compiled")
    assert found.keys() == COMPILED
    assert found != guard.baselines(limits, "efficientnet_lite0", "compiled")
    with pytest.raises(BuildError, match="expected one of mobilenet_v1, .*, found flowers"):
        guard.baselines(limits, "flowers", "compiled")


def test_one_file_more_is_found(archive: Path, tmp_path: Path) -> None:
    before = guard.sizes(archive)
    copy = tmp_path / "more.zip"
    shutil.copy(archive, copy)
    with zipfile.ZipFile(copy, "a") as zipped:
        zipped.writestr("more.txt", "x" * 10_000)
    after = guard.sizes(copy)
    assert after["unpacked_bytes"] == before["unpacked_bytes"] + 10_000
    assert after["zip_bytes"] > before["zip_bytes"] + 10_000
    checks = guard.compare(after, before, read_toml(guard.LIMITS)["tolerance"])
    assert [check.name for check in checks if not check.ok] == ["files"]


def test_more_imports_are_found(archive: Path, tmp_path: Path) -> None:
    python = interpreter(peers.PYTHON)
    before = guard.imports(archive, python)
    assert {"main__", "numpy", "action.activation"} <= {*before}
    assert not {"sys", "builtins", "posix"} & {*before}
    one = planted(archive, tmp_path, {"extra.py": ""}, "import extra\n")
    assert {*guard.imports(one, python)} - {*before} == {"extra"}
    many = guard.imports(planted(archive, tmp_path, {}, "import xml.dom.minidom\n"), python)
    found, baseline = {"imports": float(len(many))}, {"imports": float(len(before))}
    [check] = guard.compare(found, baseline, read_toml(guard.LIMITS)["tolerance"])
    assert not check.ok


def test_what_does_not_import(archive: Path, tmp_path: Path) -> None:
    broken = planted(archive, tmp_path, {}, "import no_such_module\n")
    with pytest.raises(BuildError, match="(?s)does not import: .*no_such_module"):
        guard.imports(broken, interpreter(peers.PYTHON))


def test_a_slower_warm_path_is_found(archive: Path, imagenet_model: str, tmp_path: Path) -> None:
    """Four times the work: found wherever an activation takes more than one inference."""
    packages = wheels.provide(peers.PYTHON, DEFAULT_OPTIONS, Console(quiet=True)).folder
    again = "\n_once = main\n\ndef main(params):\n    return [_once(params) for _ in range(4)][0]\n"
    slower = planted(archive, tmp_path, {}, again)
    found = guard.warm_ratio(slower, interpreter(peers.PYTHON), packages, enough=float("inf"))
    limits = read_toml(guard.LIMITS)
    baseline = guard.baselines(limits, Path(imagenet_model).stem, "wheels")
    [check] = guard.compare({"warm_ratio": found}, baseline, limits["tolerance"])
    assert not check.ok, check


@pytest.mark.parametrize(
    ("instructions", "compiled", "expected"),
    [
        (["AVX2"], ["avx2", "xnnpack"], ("avx2", ([], ["xnnpack"]))),
        (["AVX2"], ["avx2", "xnnpack-avx2"], None),
        (["AVX2", "AVX512-VNNI"], ["avx2", "xnnpack-avx2"], ("avx2", (["avx2"], ["xnnpack-avx2"]))),
        (["AVX2", "AVX512F", "AVX512BW"], ["avx2", "xnnpack"], ("avx512", ([], ["xnnpack"]))),
        (["AVX2", "AVX-VNNI"], ["avx2", "xnnpack"], None),
        ([], ["avx2", "xnnpack", "xnnpack-avx2"], None),
    ],
)
def test_whose_kernels_are_compared(
    tmp_path: Path,
    instructions: list[str],
    compiled: list[str],
    expected: tuple[str, tuple[list[str], list[str]]] | None,
) -> None:
    for name in compiled:
        (tmp_path / "cp311" / name / "tflite_runtime").mkdir(parents=True)
    found = guard.kernels(tmp_path, machine.cpu_class(instructions))
    names = found and (found[0], tuple([path.name for path in paths] for paths in found[1]))
    assert names == expected


def test_slower_kernels_are_found(archive: Path, tmp_path: Path) -> None:
    """The same kernels, and a variant of them that does all twice."""
    packages = wheels.provide(peers.PYTHON, DEFAULT_OPTIONS, Console(quiet=True)).folder
    shutil.copytree(packages / "ai_edge_litert", tmp_path / "ai_edge_litert")
    path = tmp_path / "ai_edge_litert" / "interpreter.py"
    twice = "\n_once = Interpreter.invoke\n\ndef _twice(self):\n  _once(self)\n  _once(self)\n"
    path.write_text(path.read_text("utf-8") + twice + "\nInterpreter.invoke = _twice\n")
    python, anything = interpreter(peers.PYTHON), float("inf")
    slower: tuple[list[Path], list[Path]] = ([tmp_path], [])
    assert guard.kernels_ratio(archive, python, packages, slower, anything) > 1.4
    same: tuple[list[Path], list[Path]] = ([], [])
    assert guard.kernels_ratio(archive, python, packages, same, enough=1.1) < 1.4


def test_from_end_to_end(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    imagenet_model: str,
) -> None:
    interpreter(peers.PYTHON)
    limits = tmp_path / "limits.toml"
    # How fast it is, the guard itself says in CI: this test shares the machine.
    text = re.sub(r"\b(warm_ratio|avx2|avx512) = \d", r"\1 = 99", guard.LIMITS.read_text())
    limits.write_text(text)
    monkeypatch.setattr(guard, "LIMITS", limits)
    guard.run(["--model", imagenet_model])
    said = capsys.readouterr().out
    rows = [line.split()[0] for line in said.splitlines() if line.split()[0] in FIGURES]
    assert len(rows) == len(FIGURES)
    assert "too much" not in said
    limits.write_text(re.sub(r"(?m)^files = \d+", "files = 1", text))
    with pytest.raises(BuildError, match="too much: files") as raised:
        guard.run(["--model", imagenet_model])
    assert "raise the baseline in" in raised.value.hint
