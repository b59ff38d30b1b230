"""The measurements run, end to end and once: that they are complete, not what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bench import peers, warm
from builder.build import SAMPLE
from builder.errors import BuildError
from builder.paths import ROOT
from tests.conftest import interpreter

SLOW = "import time\ndef main(params):\n  time.sleep(0.21)\n  return {}\n"
NAMES = [
    *["this zip", "this zip, precompiled", "pip: tflite-runtime", "pip: ai-edge-litert"],
    *["pip: onnxruntime", "TF.js, wasm", "TF.js, plain JS"],
]


def start(*arguments: str) -> subprocess.Popen[str]:
    """`python -m bench`; the rest of a run's environment is not the tests' own."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("CLASSIFY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def bench(*arguments: str, status: int = 0) -> str:
    """What it prints; to stderr if it is to fail."""
    process = start(*arguments)
    said, errors = process.communicate()
    assert process.returncode == status, errors
    return said if status == 0 else errors


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, imagenet_model: str) -> Path:
    """The folder of a run with everything in it, as short as can be."""
    interpreter(peers.PYTHON)
    folder = tmp_path_factory.mktemp("report")
    counts = ["--warm", "4", "--cold", "1", "--inferences", "2"]
    bench("--quick", *counts, "--model", imagenet_model, "--output", str(folder))
    return folder


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text("utf-8"))
    return found


def test_everybody_answers_right(report: Path) -> None:
    found = results(report)["peers"]
    assert list(found) == NAMES
    for name, each in found.items():
        assert each["problem"] == "", name
        assert each["answer"]["className"] == "espresso"
        assert each["versions"]


def test_every_section_has_everybody(report: Path) -> None:
    found = results(report)
    assert list(found["size"]) == list(found["memory"]) == NAMES
    assert list(found["warm"]) == ["bare interpreter", *NAMES]
    assert list(found["cold"]) == ["hello world", "hello, precompiled", *NAMES]
    assert len(found["warm"]["this zip"]["ms"]) == 4
    assert found["size"]["pip: ai-edge-litert"]["over"] > 0 == found["size"]["this zip"]["over"]
    for name in NAMES:
        memory = found["memory"][name]
        assert memory["peak"] >= memory["resident"] > memory["private"] > 1e6
        image = found["peers"][name]["image"]
        assert ("unzip" in found["cold"][name]["stages"]) == (not image)
    assert {len(each["ms"]) for each in found["inference"].values()} == {2}
    assert found["scaling"].keys() >= {"processes", "megapixels"}
    assert found["about"]["interrupted"] is False


def test_what_is_written(report: Path) -> None:
    tables = (report / "RESULTS.md").read_text("utf-8")
    assert all(name in tables for name in NAMES)
    for plot in ("warm", "cold", "size"):
        assert (report / f"{plot}.svg").read_text("utf-8").startswith("<?xml")
        assert (report / f"{plot}.png").read_bytes().startswith(b"\x89PNG")


def test_written_anew_from_the_results(report: Path, tmp_path: Path) -> None:
    bench("--from", str(report / "results.json"), "--output", str(tmp_path))
    for path in report.iterdir():
        if path.suffix != ".png":
            assert (tmp_path / path.name).read_text("utf-8") == path.read_text("utf-8"), path.name


def test_ctrl_c_keeps_what_was_measured(report: Path, tmp_path: Path, imagenet_model: str) -> None:
    arguments = ["--quick", "--warm", "100000", "--only", "size", "warm"]
    process = start(*arguments, "--model", imagenet_model, "--output", str(tmp_path))
    assert process.stderr
    for said in process.stderr:
        if "warm: round" in said and "round 1 " not in said:
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all that it started, too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    found = results(tmp_path)
    assert found["about"]["interrupted"] is True
    assert found["warm"]["this zip"]["ms"]
    assert "cold" not in found
    assert (tmp_path / "RESULTS.md").exists()


class TestWarm:
    def test_slow_peers_sit_out(self, tmp_path: Path) -> None:
        """The rounds that a slow one takes part in go over all pictures, not over half of them."""
        archive = tmp_path / "slow.zip"
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("__main__.py", SLOW)
        slow = peers.Peer("slow", archive, interpreter(peers.PYTHON))
        with slow.launched() as action, peers.hello().launched() as quick:
            assert warm._every(action, b"", ["a", "b"]) == 3
            assert warm._every(quick, b"", ["a", "b"]) == 1

    def test_a_folder_without_pictures(self, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match="expected a folder with JPEGs, found none"):
            warm.pictures(tmp_path, None)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("name\tclass\nother.jpg\t3\n", "expected names of files"),
            ("name\tclass\na.jpg\tespresso\n", "expected a TSV"),
            ("name\tclass\na.jpg\n", "expected a TSV"),
        ],
    )
    def test_labels_that_do_not_fit(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "a.jpg").write_bytes(SAMPLE.read_bytes())
        (tmp_path / "labels.tsv").write_text(text)
        with pytest.raises(BuildError, match=said):
            warm.pictures(tmp_path, tmp_path / "labels.tsv")

    def test_the_head_of_the_labels_is_not_a_picture(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"1")
        (tmp_path / "b.JPEG").write_bytes(b"2")
        (tmp_path / "c.png").write_bytes(b"3")
        (tmp_path / "labels.tsv").write_text("name\tclass\nb.JPEG\t7\n\n")
        found = warm.pictures(tmp_path, tmp_path / "labels.tsv")
        assert found == warm.Pictures({"a.jpg": b"1", "b.JPEG": b"2"}, {"b.JPEG": 7})


def test_counts_are_at_least_one() -> None:
    assert "expected at least 1, found 0" in bench("--cold", "0", status=2)


def test_no_such_results(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("[]")
    assert "expected results that" in bench("--from", str(path), status=1)
