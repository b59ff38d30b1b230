"""The reports: made of stored results, complete or not; storing and publishing them."""

from __future__ import annotations

import dataclasses
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest

from bench import results
from bench.report import markdown, readme, results_page, tables
from bench.results import PeerInfo, Run
from builder.base.environments import ensure_environment
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from tests.support.runs import empty_run


@pytest.fixture
def runs() -> list[Run]:
    """The stored runs; the first is on AVX512-VNNI."""
    return results.read_runs()


def row(text: str, name: str) -> list[str]:
    """Return the cells of the first table row of that name."""
    line = next(line for line in text.splitlines() if re.match(rf"\| {re.escape(name)} +\|", line))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_readme_has_one_table_with_a_column_per_cpu_class(runs: list[Run]) -> None:
    section, first = readme.format_section(runs), runs[0]
    mb, cold, *warm, memory = row(section, "this zip")
    assert mb == f"{first.size['this zip'].zip / 1e6:.2f}"
    ratio = first.cold["this zip"].total / first.cold["hello world"].total
    assert cold == f"{ratio:.2f}x"
    medians = [statistics.median(run.warm["this zip"].ms) for run in runs]
    assert list(map(float, warm)) == pytest.approx(medians, rel=0.01)
    assert memory == f"{first.memory['this zip'].resident / 1e6:.0f}"
    assert row(section, "pip: onnxruntime")[0].endswith(" (too large)")
    smaller = first.size["pip: tflite-runtime"].zip / first.size["this zip"].zip
    assert f"**{smaller:.2f}x smaller, " in section
    assert section.count("<img") == 1
    assert len(section.splitlines()) <= 35


def test_readme_section_is_replaced() -> None:
    before = f"before\n{readme.START}\nold\n{readme.END}\nafter\n"
    once = readme.replace_section(before, "## new\n")
    assert once == f"before\n{readme.START}\n## new\n{readme.END}\nafter\n"
    assert readme.replace_section(once, "## new\n") == once
    for broken in ("nothing", readme.START, f"{readme.END}\n{readme.START}"):
        with pytest.raises(BuildError, match="expected the lines"):
            readme.replace_section(broken, "## new\n")


def test_page_of_an_empty_run() -> None:
    page = results_page.format_page([empty_run()])
    assert page.count(markdown.NOT_MEASURED) == len(results_page.SECTIONS)


def test_cost_by_the_articles_prices() -> None:
    """316 ms are billed as 400, 1,260 as 1,300; a GB-s costs 17 millionths of a dollar."""
    assert [tables.format_cost(ms, 256) for ms in (316, 1260, None)] == ["$1.70", "$5.53", "-"]


def test_problems_and_a_busy_machine_are_reported(runs: list[Run]) -> None:
    run = runs[0]
    run.peers["pip: onnxruntime"] = PeerInfo(problem="answered sock for the sample")
    for suite in (run.size, run.warm, run.cold, run.memory):
        del suite["pip: onnxruntime"]
    run.problems["warm, pip: onnxruntime"] = "the action died (exit status -9)\nKilled"
    run.warm["bare interpreter"].ms = [2.3] * 89 + [9.0] * 11
    for text in (readme.format_section([run]), results_page.format_page([run])):
        words = " ".join(text.split())
        assert "Not measured: *pip: onnxruntime*: answered sock for the sample." in words
        assert "died (exit status -9) Killed." in words
        assert "The machine was busy" in words
        assert not re.search(r"^\| pip: onnxruntime", text, re.MULTILINE)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 3}', '{"version": 4}'])
def test_malformed_results_json_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "avx2.json"
    path.write_text(content)
    with pytest.raises(BuildError, match="expected results of version 4, found: "):
        results.read_run(path)


def test_committed_reports_are_made_of_the_stored_results(runs: list[Run]) -> None:
    assert runs, "python3 -m bench --publish writes bench/results/"
    for run in runs:
        assert results.run_path(run).read_text("utf-8") == results.format_run(run)
    assert (ROOT / "bench" / "RESULTS.md").read_text("utf-8") == results_page.format_page(runs)
    committed = (ROOT / "README.md").read_text("utf-8")
    assert committed == readme.replace_section(committed, readme.format_section(runs))
    for path in re.findall(r'(?:src|srcset)="([^"]+)"', readme.format_section(runs)):
        assert (ROOT / path).exists()


def publish(run: Run, checkout: Path) -> str:
    """Publish a run into a copy of the checkout; return the errors."""
    for name in ("action", "bench", "builder", "client"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored, dirs_exist_ok=True)
    shutil.copy(ROOT / "README.md", checkout)
    (checkout / "run.json").write_text(results.format_run(run))
    python = ensure_environment("bench", ROOT / "bench" / "requirements.txt")
    command = [str(python), "-W", "error", "-m", "bench", "--publish", "--from", "run.json"]
    command += ["--output", "elsewhere"]
    variables = {"CLASSIFY_ENVIRONMENT": f"bench:{checkout}"}
    done = subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_publish_replaces_only_its_cpu_class(runs: list[Run], tmp_path: Path) -> None:
    first, *_, last = runs
    for run in (first, last, dataclasses.replace(first, date="2026-12-24")):
        publish(run, tmp_path)
    newer, other = results.read_runs(tmp_path / "bench" / "results")
    assert (newer.date, newer.machine) == ("2026-12-24", first.machine)
    assert other == last
    page = (tmp_path / "bench" / "RESULTS.md").read_text("utf-8")
    assert page.index(f"## {newer.machine.cpu_class.name}: ") < page.index("## AVX2 without VNNI: ")
    light, dark = (
        (tmp_path / "docs" / "bench" / "avx2" / f"glance{theme}.svg").read_text("utf-8")
        for theme in ("", "-dark")
    )
    mb = [last.size[name].zip / 1e6 for name in ("this zip", "pip: tflite-runtime")]
    ours, pips = (f"{markdown.format_number(size)} MB" for size in mb)
    for text in (ours, f"{pips}  ({mb[1] / mb[0]:.1f}x)", "1,260 ms", "hello world"):
        assert f">{text}" in light and f">{text}" in dark
    assert "#0d1117" in dark and "#0d1117" not in light


def test_run_with_problems_is_not_published(runs: list[Run], tmp_path: Path) -> None:
    run = dataclasses.replace(runs[0], problems={"cold, this zip": "the action died"})
    assert "not published, since it ended early" in publish(run, tmp_path)
    assert not (tmp_path / "bench" / "results").exists()
    assert results.read_runs(tmp_path / "elsewhere" / "results") == [run]
