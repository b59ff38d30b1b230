"""The measurement of cold starts: a short run of the real thing, and its parts."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bench import cold, peers
from builder.paths import ROOT
from tests.conftest import interpreter
from tests.models import Colours

ZIPS = [cold.HELLO, cold.HELLO_PRECOMPILED, cold.PORTABLE, cold.PRECOMPILED, cold.PIP]
SKIP_COMPILE = [cold.HELLO_PRECOMPILED, cold.PRECOMPILED]


@pytest.fixture
def some_zip(tmp_path: Path) -> Path:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        start = zipfile.ZipInfo("exec")
        start.external_attr = 0o100755 << 16
        archive.writestr(start, "#!/usr/local/bin/python -ISB\n")
        archive.writestr("a/b/c.txt", b"deep" * 1000, zipfile.ZIP_DEFLATED)
    return path


def measured(archive: Path, names: list[str]) -> cold.Measured:
    """As after two rounds of the zips `names`, with round numbers for times."""
    zips = {name: cold.Cold(archive, {}) for name in ZIPS}
    for name in names:
        each = zips[name]
        times = {"first run": [0.001, 0.003], "receive": [0.004, 0.006]}
        if name not in SKIP_COMPILE:
            times["compile"] = [0.100, 0.100]
        each.stages |= times
        each.start += [0.050, 0.050]
        each.bare += [0.020, 0.040]
    return cold.Measured("python", zips, "1.2.3")


def test_a_run(tmp_path: Path, colour_labels: Path) -> None:
    interpreter(peers.PYTHON)
    model = Colours(dtype="uint8").write(tmp_path / "colours.tflite")
    report = tmp_path / "cold.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "cold", "--rounds", "1", "--runtime", "wheels"]
        + ["--model", str(model), "--labels", str(colour_labels)]
        + ["--output", str(tmp_path / "plots"), "--json", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    assert list(found["zips"]) == ZIPS
    assert found["rounds"] == 1
    for name, each in found["zips"].items():
        stages = [s for s in cold.STAGES if s != "compile" or name not in SKIP_COMPILE]
        assert list(each["stages"]) == stages
        # One round, perhaps on a busy machine: the bare start may have been the slower one.
        assert all(ms > 0 for stage, ms in each["stages"].items() if stage != "imports and model")
        assert each["total"] == pytest.approx(sum(each["stages"].values()))
        assert 0 < each["memory"]["private"] < each["memory"]["resident"]
        assert all(size > 0 for size in each["size"].values())
        assert name in done.stdout
    assert found["zips"][cold.HELLO]["ratio"] == 1
    same = {tuple(found["zips"][name]["samples"]["python"]) for name in (cold.HELLO, cold.PIP)}
    assert len(same) == 1
    assert found["zips"][cold.PRECOMPILED]["own"] > 0
    assert found["zips"][cold.PIP]["own"] is None
    assert len(found["ready"]) == 2
    assert all(ms > 0 for ms in found["ready"].values())
    assert (tmp_path / "plots" / "cold.svg").read_text().count("<svg") == 1
    assert (tmp_path / "plots" / "cold.png").read_bytes().startswith(b"\x89PNG")
    assert "\x1b" not in done.stdout + done.stderr


def test_what_is_sent_is_what_arrives(some_zip: Path) -> None:
    body = cold.request(some_zip)
    value = json.loads(body)["value"]
    assert (value["main"], value["binary"]) == ("main", True)
    assert base64.b64decode(value["code"]) == cold.received(body) == some_zip.read_bytes()


def test_unzip_keeps_permissions(some_zip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "src"
    cold.unzip(some_zip.read_bytes(), folder)
    assert (folder / "a" / "b" / "c.txt").read_bytes() == b"deep" * 1000
    assert stat.S_IMODE((folder / "exec").stat().st_mode) & 0o700 == 0o700
    assert not (folder / "a" / "b" / "c.txt").stat().st_mode & 0o111


def test_memory_from_the_kernels_text() -> None:
    rollup = (
        "00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\nRss:  100 kB\nAnonymous:  40 kB\n"
    )
    assert cold.memory(rollup) == {"resident": 102400, "private": 40960}


def test_medians(some_zip: Path) -> None:
    each = measured(some_zip, [cold.HELLO]).zips[cold.HELLO]
    medians = each.medians()
    assert list(medians) == ["receive", "compile", "python", "imports and model", "first run"]
    assert medians == pytest.approx(
        {"receive": 5, "compile": 100, "python": 30, "imports and model": 20, "first run": 2}
    )
    assert each.size() == {"files": 2, "unpacked": 4029, "zip": some_zip.stat().st_size}


def test_ratios_are_to_hello_world(some_zip: Path) -> None:
    found = cold.summary(measured(some_zip, ZIPS), "machine")
    assert found["zips"][cold.PIP]["ratio"] == 1
    assert found["zips"][cold.PRECOMPILED]["ratio"] == pytest.approx(57 / 157)


@pytest.mark.parametrize("names", [[cold.HELLO], [cold.PIP], [cold.PRECOMPILED, cold.PIP]])
def test_what_was_measured_before_an_interrupt(some_zip: Path, names: list[str]) -> None:
    found = cold.summary(measured(some_zip, names), "machine")
    assert list(found["zips"]) == names
    text = cold.text(found)
    assert all((f"\n{name}  " in text) == (name in names) for name in ZIPS)
    assert "nan" not in text


def test_rounds_are_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cold.run(["--rounds", "0"])
    assert "expected at least 1, found 0" in capsys.readouterr().err
