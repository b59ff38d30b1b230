"""The reports: made of stored results, complete or not; storing and publishing them."""

from __future__ import annotations

import copy
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench import results
from bench.report import cost, markdown, readme, results_page
from bench.results import PeerInfo, Run
from builder.base.environments import ensure_environment
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from tests.support.runs import AVX2, empty_run, full_run


@pytest.fixture
def run() -> Run:
    return full_run()


def row(text: str, name: str) -> list[str]:
    """Return the cells of the first table row of that name."""
    line = next(line for line in text.splitlines() if re.match(rf"\| {re.escape(name)} +\|", line))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def section_of(page: str, title: str) -> str:
    return page.partition(f"\n### {title}\n")[2].partition("\n### ")[0]


def test_readme_has_one_table_with_a_column_per_cpu_class(run: Run) -> None:
    other = dataclasses.replace(copy.deepcopy(run), machine=AVX2)
    other.warm["this zip"].ms = [17.5]
    section = readme.format_section([run, other])
    assert row(section, "this zip")[:2] == ["6.44", "1.32x"]
    assert row(section, "this zip")[3:] == ["17.5", "37"]
    assert row(section, "this zip, wheels")[0] == "23.30"
    assert row(section, "pip: onnxruntime")[0] == "48.78 (too large)"
    assert "**3.15x smaller, 11.0x faster cold, " in " ".join(section.split())
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


def test_page_has_all_tables(run: Run) -> None:
    page = results_page.format_page([run, dataclasses.replace(run, machine=AVX2, size={})])
    first, second = page.split("\n## ")[1:3]
    assert first.startswith("AVX512-VNNI: Some Processor, 2026-11-22\n")
    assert second.startswith("AVX2 without VNNI: Another Processor, 2026-11-22\n")
    assert markdown.NOT_MEASURED in section_of(second, "Size")
    assert markdown.NOT_MEASURED not in first
    assert row(section_of(page, "Cost in 2018"), "pip: tflite-runtime") == [
        *["256 MB", "200 ms", "$0.85", "8,000,000", "2,800 ms", "$11.90", "571,428"]
    ]


def test_page_of_an_empty_run() -> None:
    page = results_page.format_page([empty_run()])
    assert page.count(markdown.NOT_MEASURED) == len(results_page.SECTIONS)
    assert markdown.NOT_MEASURED in readme.format_section([empty_run()])


def test_cost_by_the_articles_figures() -> None:
    """The article says 4,000,000 warm and 1,200,000 cold activations are free with 256 MB."""
    assert (cost.billed_ms(316), cost.billed_ms(1260)) == (400, 1300)
    assert cost.PRICES["free_gb_seconds"] / cost.gb_seconds(316, 256) == 4_000_000
    room = 128 * 2**20 - cost.PROXY_MEMORY
    assert [cost.least_memory(peak) for peak in (room, room + 1, 2e9)] == [128, 256, None]


def test_problems_and_a_busy_machine_are_reported(run: Run) -> None:
    run.peers["pip: onnxruntime"] = PeerInfo(problem="answered sock for the sample")
    for part in (run.size, run.warm, run.cold, run.memory):
        del part["pip: onnxruntime"]
    run.problems["warm, pip: onnxruntime"] = "the action died (exit status -9)\nKilled"
    run.warm["bare interpreter"].ms = [2.3] * 89 + [9.0] * 11
    run.interrupted = True
    for text in (readme.format_section([run]), results_page.format_page([run])):
        words = " ".join(text.split())
        assert "Not measured: *pip: onnxruntime*: answered sock for the sample." in words
        assert "died (exit status -9) Killed." in words
        assert "The machine was busy" in words and "The run was interrupted" in words
        assert not re.search(r"^\| pip: onnxruntime", text, re.MULTILINE)


def test_results_json_round_trip(run: Run, tmp_path: Path) -> None:
    for each in (dataclasses.replace(run, machine=AVX2), run):
        results.run_path(each, tmp_path).write_text(results.format_run(each))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["avx2.json", "avx512-vnni.json"]
    assert results.read_runs(tmp_path)[0] == run


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 3}', '{"version": 4}'])
def test_malformed_results_json_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "avx2.json"
    path.write_text(content)
    with pytest.raises(BuildError, match="expected results of version 4, found: "):
        results.read_run(path)


def test_committed_reports_are_made_of_the_stored_results() -> None:
    runs = results.read_runs()
    assert runs, "python3 -m bench --publish writes bench/results/"
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
    path = checkout / "run.json"
    path.write_text(results.format_run(run))
    python = ensure_environment("bench", ROOT / "bench" / "requirements.txt")
    command = [str(python), "-W", "error", "-m", "bench", "--publish", "--from", str(path)]
    variables = {"CLASSIFY_ENVIRONMENT": f"bench:{checkout}"}
    done = subprocess.run(
        [*command, "--output", str(checkout / "elsewhere")],
        cwd=checkout,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_publish_replaces_only_its_cpu_class(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path)
    publish(dataclasses.replace(run, machine=AVX2), tmp_path)
    publish(dataclasses.replace(run, date="2026-12-24"), tmp_path)
    newer, other = results.read_runs(tmp_path / "bench" / "results")
    assert (newer.date, newer.machine) == ("2026-12-24", run.machine)
    assert (other.date, other.machine) == ("2026-11-22", AVX2)
    page = (tmp_path / "bench" / "RESULTS.md").read_text("utf-8")
    assert page.index("## AVX512-VNNI: Some") < page.index("## AVX2 without VNNI: Another")
    light, dark = (
        (tmp_path / "docs" / "bench" / "avx2" / f"glance{theme}.svg").read_text("utf-8")
        for theme in ("", "-dark")
    )
    for text in ("6.44 MB", "175 MB", "254 ms", "1,260 ms", "316 ms", "150 MB", "hello world"):
        assert f">{text}" in light and f">{text}" in dark
    assert ">20.3 MB  (3.2x)<" in light
    assert "#0d1117" in dark and "#0d1117" not in light


def test_run_with_problems_is_not_published(run: Run, tmp_path: Path) -> None:
    run.problems["cold, this zip"] = "the action died"
    assert "not published, since it ended early" in publish(run, tmp_path)
    assert not (tmp_path / "bench" / "results").exists()
    assert results.read_runs(tmp_path / "elsewhere" / "results") == [run]
