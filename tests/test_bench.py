"""The measurements run, end to end and once: that their tables are complete, not what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from builder.paths import ROOT
from tests.conftest import interpreter
from tests.models import Colours

PYTHON = "3.11"
"""What the peers run under."""

pytestmark = pytest.mark.usefixtures("peers_python")


@pytest.fixture(scope="module")
def peers_python() -> str:
    return interpreter(PYTHON)


def bench(*arguments: str, status: int = 0) -> str:
    """What `python -m bench` prints; the rest of a run's environment is not the tests' own."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("CLASSIFY_")}
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_cold(tmp_path: Path, colour_labels: Path) -> None:
    network = Colours(dtype="uint8").write(tmp_path / "colours.tflite")
    found = tmp_path / "cold.json"
    said = bench(
        *("cold", "--rounds", "1", "--model", str(network), "--labels", str(colour_labels)),
        *("--output", str(tmp_path), "--json", str(found), "--optimize", "size"),
    )
    zips = json.loads(found.read_text())["zips"]
    names = ["hello world", "hello, precompiled", "this zip", "this zip, precompiled"]
    assert list(zips) == [*names, "this zip, size", "pip zip"]
    for name, each in zips.items():
        assert name in said
        stages = each["stages"]
        assert ("compile" in stages) == ("precompiled" not in name)
        assert {"receive", "unzip", "python", "imports and model", "first run"} <= stages.keys()
        assert each["total"] == pytest.approx(sum(stages.values()))
        assert each["memory"]["resident"] > each["memory"]["private"] > 1e6
    assert zips["pip zip"]["size"]["files"] > 1000 > 40 > zips["this zip"]["size"]["files"]
    assert "import numpy" in said
    assert (tmp_path / "cold.svg").read_text().startswith("<?xml")
    assert (tmp_path / "cold.png").read_bytes().startswith(b"\x89PNG")


def test_warm(imagenet_model: str) -> None:
    said = bench("warm", "--rounds", "1", "--model", imagenet_model, "--soak", "600")
    rows = re.findall(r"^  (\S.*?) {2,}[\d.]+", said, re.MULTILINE)
    assert rows == [
        *("bare interpreter", "this zip", "this zip, uint8", "pip zip"),
        *("0.2 MP", "12 MP", "48 MP"),
    ]
    assert re.search(r"first activation after init: [\d.]+x a warm one", said)
    assert re.search(r"memory: [\d.]+ MB after 500 activations, [\d.]+ MB after 600", said)


def test_no_such_measurement() -> None:
    assert "cold" in bench("colt", status=2)


def test_no_pictures(tmp_path: Path) -> None:
    assert "expected a folder with JPEGs" in bench("warm", "--images", str(tmp_path), status=1)
