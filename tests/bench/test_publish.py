"""Publishing a run: into a copy of the checkout, by the command itself."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from bench import stored
from bench.results import Run, Size, Warm
from builder.base.environments import ensure_environment
from builder.base.paths import ROOT
from tests.support.runs import AVX2, VNNI, empty


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the command reads and writes, with a run on AVX512-VNNI stored in it."""
    folder = tmp_path / "checkout"
    for name in ("action", "bench", "builder", "client"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "README.md", folder)
    put(measured(), folder / "bench" / "results" / "avx512-vnni.json")
    return folder


def measured() -> Run:
    """A run with something in it."""
    run = empty()
    for name, ms in (("this zip", 5.0), ("pip: tflite-runtime", 85.0)):
        run.size[name] = Size(zip=6_000_000, unpacked=9_000_000, files=25)
        run.warm[name] = Warm([ms])
    return run


def put(run: Run, path: Path) -> Path:
    """A run as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(stored.text(run))
    return path


def publish(checkout: Path, *runs: Path) -> subprocess.CompletedProcess[str]:
    """`python -m bench --from RUNS --publish` there, in the environment that is here."""
    python = ensure_environment("bench", ROOT / "bench" / "requirements.txt")
    command = [str(python), "-m", "bench", "--publish", "--output", str(checkout / "elsewhere")]
    return subprocess.run(
        [*command, "--from", *map(str, runs)],
        cwd=checkout,
        env={"CLASSIFY_BENCH": str(checkout)},
        capture_output=True,
        text=True,
    )


def test_a_run_of_another_class_stays(checkout: Path, tmp_path: Path) -> None:
    results = checkout / "bench" / "results"
    before = (results / "avx512-vnni.json").read_bytes()
    other = dataclasses.replace(measured(), machine=AVX2, date="2026-12-24")
    other.warm["this zip"] = Warm([17.0])
    done = publish(checkout, put(other, tmp_path / "run.json"))
    assert done.returncode == 0, done.stderr
    assert (results / "avx512-vnni.json").read_bytes() == before
    assert stored.read(results / "avx2.json") == other
    page = (checkout / "bench" / "RESULTS.md").read_text("utf-8")
    assert page.index("## AVX512-VNNI: Some") < page.index("## AVX2 without VNNI: Another")
    readme = (checkout / "README.md").read_text("utf-8")
    assert "**17.0x faster warm** on a CPU with AVX512-VNNI" in " ".join(readme.split())
    assert "**5.00x faster warm** on a CPU with AVX2 without VNNI" in " ".join(readme.split())
    assert (checkout / "docs" / "bench" / "avx2" / "warm.svg").exists()


def test_a_run_of_the_same_class_is_replaced(checkout: Path, tmp_path: Path) -> None:
    newer = dataclasses.replace(measured(), date="2026-12-24")
    assert publish(checkout, put(newer, tmp_path / "run.json")).returncode == 0
    [stored_run] = stored.runs(checkout / "bench" / "results")
    assert (stored_run.date, stored_run.machine) == ("2026-12-24", VNNI)
    assert "2026-11-22" not in (checkout / "bench" / "RESULTS.md").read_text("utf-8")


def test_what_ended_early_is_kept_and_not_published(checkout: Path, tmp_path: Path) -> None:
    run = measured()
    run.problems["cold, this zip"] = "the action died"
    before = (checkout / "bench" / "results" / "avx512-vnni.json").read_bytes()
    done = publish(checkout, put(run, tmp_path / "run.json"))
    assert "not published, since it ended early" in done.stderr
    assert (checkout / "bench" / "results" / "avx512-vnni.json").read_bytes() == before
    assert stored.runs(checkout / "elsewhere" / "results") == [run]
    assert "the action died" in (checkout / "elsewhere" / "RESULTS.md").read_text("utf-8")


@pytest.mark.parametrize("part", [("--only", "size"), ("--peers", "this zip")])
def test_a_part_is_not_published(checkout: Path, part: tuple[str, str]) -> None:
    python = ensure_environment("bench", ROOT / "bench" / "requirements.txt")
    done = subprocess.run(
        [str(python), "-m", "bench", "--publish", *part],
        cwd=checkout,
        env={"CLASSIFY_BENCH": str(checkout)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f"--publish: expected a whole run, found {part[0]}" in done.stderr
