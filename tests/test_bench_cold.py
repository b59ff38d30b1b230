"""The parts of the measurement of cold starts; `test_bench.py` runs it as a whole."""

from __future__ import annotations

import base64
import json
import stat
import zipfile
from pathlib import Path

import pytest

from bench import cold

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
