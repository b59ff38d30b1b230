"""The measurements run, end to end and once: that they are complete, not what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench import stored
from bench.measure import warm
from bench.measure.interpreter import Worker
from bench.peers import peer as peers
from bench.results import Run
from builder.artifact.smoke import SAMPLE
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from tests.conftest import interpreter
from tests.support.runs import empty

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
def names(thorough: bool) -> list[str]:
    """Who takes part: ours, or everybody."""
    return NAMES if thorough else NAMES[:2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, imagenet_model: str, names: list[str]) -> Path:
    """The folder of a run with everything in it, as short as can be."""
    interpreter(peers.PYTHON)
    folder = tmp_path_factory.mktemp("report")
    counts = ["--warm", "4", "--cold", "1", "--inferences", "2"]
    counts += ["--peers", *names]
    bench("--quick", *counts, "--model", imagenet_model, "--output", str(folder))
    return folder


def results(folder: Path) -> Run:
    [run] = stored.runs(folder / "results")
    return run


def test_everybody_answers_right(report: Path, names: list[str]) -> None:
    peers_ = results(report).peers
    assert list(peers_) == names
    for name, each in peers_.items():
        assert each.problem == "", name
        assert each.answer and each.answer.class_name == "espresso"
        assert each.versions


def test_every_section_has_everybody(report: Path, names: list[str]) -> None:
    run = results(report)
    assert list(run.size) == list(run.memory) == names
    assert list(run.warm) == ["bare interpreter", *names]
    assert list(run.cold) == ["hello world", "hello, precompiled", *names]
    assert len(run.warm["this zip"].ms) == 4
    too_large = {"pip: ai-edge-litert", "pip: onnxruntime"} & {*names}
    assert {name for name in names if run.size[name].over} == too_large
    for name in names:
        memory = run.memory[name]
        assert memory.peak >= memory.resident > memory.private > 1e6
        assert ("unzip" in run.cold[name].stages) == (not run.peers[name].image)
    assert run.scaling.processes and run.scaling.megapixels
    assert run.scaling.quota or run.scaling.quota_problem
    assert not run.interrupted and not run.problems


def test_every_interpreter_runs_the_model(report: Path, names: list[str]) -> None:
    inference = results(report).inference
    compared = {(each.interpreter.rpartition(" ")[0], each.network) for each in inference}
    ours, signed, unsigned = inference[0].interpreter.rpartition(" ")[0], "s8 x s8", "u8 x u8"
    assert ours.startswith("this zip: ")
    expected = {(ours, signed), (ours, unsigned)}
    for name in {"pip: tflite-runtime", "pip: ai-edge-litert"} & {*names}:
        expected |= {(name, signed), (name, unsigned)}
    if "pip: onnxruntime" in names:
        expected |= {("pip: onnxruntime", "u8 x s8"), ("pip: onnxruntime", unsigned)}
    assert expected <= compared
    assert {len(each.ms) for each in inference} == {2}


def test_what_is_written(report: Path, names: list[str]) -> None:
    tables = (report / "RESULTS.md").read_text("utf-8")
    assert all(name in tables for name in names)
    folder = report / results(report).machine.cpu.slug
    for plot in ("warm", "cold", "size"):
        assert (folder / f"{plot}.svg").read_text("utf-8").startswith("<?xml")
    if "pip: tflite-runtime" in names:  # with whom ours is compared at a glance
        assert (folder / "glance.svg").read_text("utf-8").startswith("<?xml")
        assert (folder / "glance.png").read_bytes().startswith(b"\x89PNG")


def test_written_anew_from_the_results(report: Path, tmp_path: Path) -> None:
    [path] = (report / "results").iterdir()
    bench("--from", str(path), "--output", str(tmp_path))
    for path in report.rglob("*.*"):
        again = tmp_path / path.relative_to(report)
        assert again.read_bytes() == path.read_bytes(), path.name


def test_prices_of_ones_own_for_what_is_stored(report: Path, tmp_path: Path) -> None:
    [path] = (report / "results").iterdir()
    prices = ["--price-gb-second", "0.00002", "--price-step", "1"]
    bench("--from", str(path), "--output", str(tmp_path), *prices)
    costs = (tmp_path / "RESULTS.md").read_text("utf-8").partition("### What it costs")[2]
    assert "$0.00002 per GB-s" in costs
    assert results(tmp_path).warm == results(report).warm


@pytest.mark.parametrize(
    "end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
def test_what_was_measured_is_kept_when_it_is_ended(
    report: Path, tmp_path: Path, imagenet_model: str, end: signal.Signals
) -> None:
    arguments = ["--quick", "--warm", "100000", "--only", "size", "warm"]
    arguments += ["--peers", "this zip, precompiled"]
    process = start(*arguments, "--model", imagenet_model, "--output", str(tmp_path))
    assert process.stderr
    for said in process.stderr:
        if "warm: round" in said and "round 1 " not in said:
            break
    os.killpg(process.pid, end)  # as a terminal does: to all that it started, too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    run = results(tmp_path)
    assert run.interrupted
    assert list(run.peers) == NAMES[:2]
    assert run.warm["this zip"].ms
    assert not run.cold
    assert (tmp_path / "RESULTS.md").exists()


class Dying(Worker):
    """A bare interpreter that dies after some inferences."""

    def __init__(self, inferences: int) -> None:
        self.left = inferences

    def inference(self) -> float:
        self.left -= 1
        if self.left < 0:
            raise BuildError("it died")
        return 1.0


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

    def test_a_peer_that_dies_sits_out(self, tmp_path: Path) -> None:
        """What it did until then stays, the others and the bare interpreter go on."""
        source = (
            "count = 0\ndef main(params):\n  global count\n  count += 1\n"
            "  if count > 5:\n    import os\n    os._exit(7)\n  return {'results': [{}]}\n"
        )
        archives = {}
        for name in ("dies", "lives"):
            archives[name] = tmp_path / f"{name}.zip"
            with zipfile.ZipFile(archives[name], "w") as zipped:
                zipped.writestr(
                    "__main__.py", source.replace("5", "999" if name == "lives" else "5")
                )
        python = interpreter(peers.PYTHON)
        both = [peers.Peer(name, path, python) for name, path in archives.items()]
        run, sent = empty(), warm.Pictures({"a": b""}, {})
        bare = Dying(2)
        warm.measure(both, bare, sent, 6, run, lambda _: None)
        # Three activations each, to learn how slow it is, come before the rounds.
        assert {name: len(each.ms) for name, each in run.warm.items()} == {
            "bare interpreter": 2,
            "dies": 2,
            "lives": 6,
        }
        assert list(run.problems) == ["warm, bare interpreter", "warm, dies"]
        assert "exit status 7" in run.problems["warm, dies"]
        assert list(run.memory) == ["lives"]

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


def test_no_such_peer(imagenet_model: str) -> None:
    errors = bench("--peers", "TF.js", "--model", imagenet_model, status=1)
    assert "expected some of this zip, " in errors
    assert errors.endswith("found TF.js\n")


def test_no_such_results(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("[]")
    assert "expected results of a run" in bench("--from", str(path), status=1)
