"""The report: a function of the stored figures, complete or not; and how runs are stored."""

from __future__ import annotations

import copy
import dataclasses
import random
import re
import statistics
import subprocess
from pathlib import Path

import pytest

from bench import stored
from bench.measure.cold import STAGES
from bench.report import markdown as text
from bench.report import readme, tables
from bench.report import results_page as page
from bench.results import (
    OUR,
    XNNPACK,
    Answer,
    AtSize,
    Cold,
    Inference,
    Memory,
    Peer,
    Run,
    Scaling,
    Size,
    Throughput,
    UnderQuota,
    Warm,
)
from builder.base.environments import ensure_environment
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from tests.support.runs import AVX2, empty

PEERS = {  # milliseconds warm and cold, MB of zip and memory
    "this zip": (6.2, 254, 6.44, 41),
    "this zip, precompiled": (6.1, 115, 6.44, 40),
    "pip: tflite-runtime": (106, 2792, 20.3, 110),
    "pip: ai-edge-litert": (9.7, 3100, 48.78, 130),
    "pip: onnxruntime": (14.1, 3900, 36.1, 160),
    "TF.js, wasm": (72, 900, 14.2, 210),
    "TF.js, plain JS": (1450, 2600, 11.8, 330),
}


def spread(median: float, seed: int, count: int = 300) -> list[float]:
    """Milliseconds as they are measured: most near the least, some far above."""
    chance = random.Random(seed)
    return [round(median * (0.95 + chance.lognormvariate(-2.7, 0.8)), 3) for _ in range(count)]


def cold(name: str, total: float) -> Cold:
    shares = {"process": 0.08 * total, "first run": 0.02 * total}
    if not name.startswith("TF.js"):
        shares |= {"receive": 0.07 * total, "unzip": 0.3 * total}
    if "precompiled" not in name and not name.startswith("TF.js"):
        shares["compile"] = 0.4 * total if total < 1000 else 150.0
    shares["imports and model"] = total - sum(shares.values())
    stages = {stage: shares[stage] for stage in STAGES if stage in shares}
    return Cold(stages, total, 0.4 * total, [total] * 40)


@pytest.fixture
def run() -> Run:
    """A run as `python -m bench` stores it."""
    answer = Answer("giant panda, panda", 0.98, 389)
    made = empty()
    made.node, made.minutes, made.pace, made.import_numpy = "24.19.0", 27.5, 0.91, 88.0
    made.inference = [
        Inference("this zip: tflite-runtime 2.14.1", "s8 x s8", spread(2.3, 91)),
        Inference("this zip: tflite-runtime 2.14.1", "s8 x s8", [6.0], OUR, "AVX2"),
        Inference("this zip: tflite-runtime 2.14.1", "s8 x s8", [12.0], XNNPACK, "AVX2"),
        Inference("pip: tflite-runtime 2.14.0", "s8 x s8", spread(35, 92)),
    ]
    made.warm["bare interpreter"] = Warm(spread(2.8, 90))
    for number, (name, (warm, total, mb, memory)) in enumerate(PEERS.items()):
        image = name.startswith("TF.js")
        versions = {name.split(",")[0].removeprefix("pip: "): "1.2.3", "numpy": "4.5.6"}
        made.peers[name] = Peer(versions, image, answer)
        zipped = round(mb * 1e6)
        made.size[name] = Size(
            zip=zipped,
            unpacked=round(mb * 2.9e6),
            files=25 if name.startswith("this") else 1234,
            over=0 if image else max(0, zipped - 37748736),
        )
        stages = {"decode": 1.9, "classify": warm / 2}
        made.warm[name] = Warm(spread(warm, number), stages, 181 - number, 200)
        made.cold[name] = cold(name, float(total))
        made.memory[name] = Memory(
            round(memory * 0.9e6), round(memory * 0.5e6), round(memory * 1e6)
        )
    made.cold = {
        "hello world": cold("hello world", 192.0),
        "hello, precompiled": cold("hello, precompiled", 28.0),
        **made.cold,
    }
    made.scaling = Scaling(
        processes={
            "this zip": [Throughput(1, 160.1), Throughput(2, 304.2)],
            "pip: tflite-runtime": [Throughput(2, 18.0), Throughput(1, 9.4)],
        },
        quota={"this zip": [UnderQuota(0.25, 31.0, 88.0, 40.0, 220.0)]},
        megapixels={
            "this zip": [
                AtSize(0.2, 48000, 4.2, 35_000_000),
                AtSize(48.0, 798000, 20.8, 41_000_000),
            ]
        },
    )
    return made


def row(tables_text: str, name: str) -> list[str]:
    """The first table row of that name, without it."""
    line = next(
        line
        for line in tables_text.splitlines()
        if re.match(rf"\| \**{re.escape(name)}\** +\|", line)
    )
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def part(page_text: str, title: str) -> str:
    return page_text.partition(f"\n### {title}\n")[2].partition("\n### ")[0]


class TestReadme:
    def test_four_lines_and_a_plot(self, run: Run) -> None:
        section = readme.section([run])
        lines = [line for line in section.splitlines() if line.startswith("- ")]
        warm = statistics.median(run.warm["this zip"].ms)
        pip = statistics.median(run.warm["pip: tflite-runtime"].ms)
        words = " ".join(section.split())
        assert len(lines) == 4
        assert "- **3.15x smaller**: 6.44 MB in 25 files (pip's: 20.30 MB in 1,234)." in words
        assert (
            "- **11.0x faster cold**: 1.32x a cold start of hello world, precompiled 0.60x "
            "(pip's: 14.5x); emulated."
        ) in words
        assert f"- **{pip / warm:.1f}x faster warm** on a CPU with AVX512-VNNI: " in words
        assert "- **0.37x the memory**: 37 MB (pip's: 99 MB)." in words
        assert "AVX512-VNNI: Some Processor, 2026-11-22" in words
        assert 'srcset="docs/bench/avx512-vnni/glance-dark.svg"' in words
        assert 'src="docs/bench/avx512-vnni/glance.svg"' in words
        assert section.count("<img") == 1
        assert "|" not in section  # no table

    def test_each_class_has_its_own_figure(self, run: Run) -> None:
        slower = dataclasses.replace(run, machine=AVX2, date="2026-11-25")
        slower.warm = {"this zip": Warm([17.5]), "pip: tflite-runtime": Warm([117.25])}
        words = " ".join(readme.section([run, slower]).split())
        assert "faster warm** on a CPU with AVX512-VNNI" in words
        assert "**6.70x faster warm** on a CPU with AVX2 without VNNI: 17.5 ms" in words
        assert "AVX2 without VNNI: Another Processor, 2026-11-25" in words

    def test_no_plot_of_what_was_not_measured(self, run: Run) -> None:
        del run.memory["this zip"]
        section = readme.section([run])
        assert "<img" not in section
        assert len([line for line in section.splitlines() if line.startswith("- ")]) == 3

    def test_the_section_is_replaced(self) -> None:
        before = f"before\n{readme.START}\nold\n{readme.END}\nafter\n"
        once = readme.placed(before, "## new\n")
        assert once == f"before\n{readme.START}\n## new\n{readme.END}\nafter\n"
        assert readme.placed(once, "## new\n") == once
        for broken in ("nothing", readme.START, f"{readme.END}\n{readme.START}"):
            with pytest.raises(BuildError, match="expected the lines"):
                readme.placed(broken, "## new\n")


class TestPage:
    def test_targets_that_are_met_and_not(self, run: Run) -> None:
        run.warm["this zip"].ms = [6.0]
        run.warm["pip: tflite-runtime"].ms = [102.0]
        run.memory["pip: tflite-runtime"] = Memory(73_800_000, 1, 80_000_000)
        run.size["pip: tflite-runtime"].zip = 32_100_000
        said = tables.targets(run)
        assert "- 4.98x smaller (at least 5x was the target): **falls short of 5x**" in said
        assert "- 10.99x faster cold (at least 5x was the target): met; precompiled, 24.28x" in said
        assert "- 17.00x faster warm (at least 20x was the target): **falls short of 20x**" in said
        assert "- 0.50x the memory (at most 0.5x was the target): met; 0.51x at its peak" in said
        assert "- 17.00x faster warm" in page.results([run])

    def test_all_tables(self, run: Run) -> None:
        written = page.results([run])
        assert "measured in this run" not in written
        assert row(part(written, "What was compared"), "pip: onnxruntime") == [
            *("onnxruntime 1.2.3, numpy 4.5.6", "as a zip", "giant panda", "389", "0.980")
        ]
        assert row(part(written, "Size"), "pip: ai-edge-litert")[0] == (
            "cannot be deployed: 11.03 MB over the limit"
        )
        assert row(part(written, "A warm activation"), "bare interpreter")[:2] == ["0.45x", "1.00x"]
        assert row(part(written, "A warm activation"), "this zip")[-2:] == ["0.905", "300"]
        assert row(part(written, "A cold start"), "this zip, precompiled") == [
            *("0.60x", "115", "8.05", "34.5", "-", "9.20", "60.9", "2.30", "40")
        ]
        assert row(part(written, "A cold start"), "TF.js, wasm")[2:4] == ["-", "-"]
        beside = " ".join(part(written, "A cold start").split())
        assert "was taken times 0.91: so" in beside
        assert "takes 0.52x what `python -I -S -c 'import numpy'` takes" in beside
        assert "*TF.js, wasm* and *TF.js, plain JS* are in a custom image" in beside
        assert row(part(written, "Memory"), "this zip") == ["0.37x", "37", "20", "41", "128 MB"]
        assert row(part(written, "More processes"), "pip: tflite-runtime") == [
            *("9.4 (1.00x)", "18.0 (1.91x)")
        ]
        assert row(part(written, "Less CPU"), "this zip") == ["0.25", "31.0", "88.0", "40.0", "220"]
        assert row(part(written, "Larger pictures"), "this zip") == [
            *("0.2", "48", "4.20", "1.00x", "35")
        ]
        costs = part(written, "What it costs")
        assert costs.count("#### ") == 3
        article = costs.partition("#### DigitalOcean")[0]
        assert row(article, "pip: ai-edge-litert")[0] == "256 MB"
        assert row(article, "TF.js, plain JS")[0] == "512 MB"
        assert "256 MB, too little" in article
        assert row(article, "pip: tflite-runtime")[1:] == [
            *("200 ms", "$0.85", "8,000,000", "2,800 ms", "$11.90", "571,428")
        ]

    def test_kernels_are_compared_within_a_class(self, run: Run) -> None:
        """What is forced down is held against what is forced down, and against nothing else."""
        lines = tables.inference(run).splitlines()
        rows = [line.split("|")[1:] for line in lines[2:]]
        kernels = {each[2].strip(): each[4].strip() for each in rows}
        assert kernels["our, forced to AVX2"] == "0.50x"
        assert kernels["XNNPACK's, forced to AVX2"] == "1.00x"
        assert kernels[""] == "-"
        run.inference = [each for each in run.inference if each.kernels != XNNPACK]
        assert "XNNPACK's own kernels were not compiled" in tables.inference(run)

    def test_a_chapter_per_class(self, run: Run) -> None:
        other = dataclasses.replace(run, machine=AVX2, date="2026-11-25", size={})
        written = page.results([run, other])
        first, second = written.split("\n## ")[1:3]
        assert first.startswith("AVX512-VNNI: Some Processor, 2026-11-22\n")
        assert second.startswith("AVX2 without VNNI: Another Processor, 2026-11-25\n")
        assert "(AVX2, AVX512F, AVX512BW, AVX512-VNNI), 2 cores" in first
        assert "Another" not in first and "Some Processor" not in second
        assert "(#avx2-without-vnni-another-processor-2026-11-25)" in written
        assert "No run is stored for: AVX-VNNI (" in written
        for machine in ("2026-11-22", "Python 3.11.7", "Node.js 24.19.0"):
            assert machine in first

    def test_prices_of_ones_own(self, run: Run) -> None:
        run.prices = {"gb_second": 0.001, "memory": 1024}
        costs = part(page.results([run]), "What it costs")
        assert costs.count("#### ") == 4
        assert row(costs, "this zip")[:3] == ["128 MB", "100 ms", "$12.50"]
        assert "1024 MB |       100 ms |     $100.00 |" in costs

    def test_a_wrong_peer_is_named_and_no_more(self, run: Run) -> None:
        run.peers["pip: onnxruntime"].problem = "answered sock for the sample"
        for written in (readme.section([run]), page.results([run])):
            said = " ".join(written.split())
            assert "Left out: *pip: onnxruntime*: answered sock for the sample." in said
            assert not re.search(r"^\| pip: onnxruntime", written, re.MULTILINE)
        assert "pip: onnxruntime" in run.warm  # what was given is as it was

    def test_what_ended_early_is_said(self, run: Run) -> None:
        run.problems["warm, pip: onnxruntime"] = "the action died (exit status -9)\nKilled"
        said = " ".join(page.results([run]).split())
        assert (
            "Ended early: warm, pip: onnxruntime: the action died (exit status -9) Killed." in said
        )
        assert row(page.results([run]), "pip: onnxruntime")  # with what it did until then

    def test_a_busy_machine_is_said(self, run: Run) -> None:
        said = "The machine was busy with something else"
        assert said not in page.results([run])
        run.warm["bare interpreter"].ms = [2.3] * 89 + [9.0] * 11
        assert said in page.results([run])
        assert said in readme.section([run])

    @pytest.mark.parametrize("missing", ["peers", "size", "warm", "cold", "memory", "scaling"])
    def test_what_was_not_measured_is_said(self, run: Run, missing: str) -> None:
        setattr(run, missing, getattr(empty(), missing))
        run.interrupted = True
        assert "The run was interrupted" in readme.section([run])
        assert "Not measured in this run." in page.results([run])

    def test_nothing_at_all(self) -> None:
        nothing = empty()
        assert "Not measured in this run." in readme.section([nothing])
        written = page.results([nothing])
        # all but the targets, which say so each, and how it was measured
        assert written.count("Not measured in this run.") == written.count("\n### ") - 2
        assert written.count("not measured in this run") == len(tables.TARGETS)

    def test_why_there_was_no_quota(self, run: Run) -> None:
        run.scaling.quota_problem = "no cgroups here."
        assert "Not all could be measured here: no cgroups here." in page.results([run])
        run.scaling.quota = {}
        said = part(page.results([run]), "Less CPU")
        assert "It could not be done: no cgroups here." in said


class TestStored:
    def test_there_and_back(self, run: Run, tmp_path: Path) -> None:
        path = stored.path(run, tmp_path)
        assert path.name == "avx512-vnni.json"
        path.write_text(stored.text(run))
        assert stored.read(path) == run
        assert stored.text(stored.read(path)) == stored.text(run)
        assert stored.runs(tmp_path) == [run]

    def test_in_the_order_of_the_classes(self, run: Run, tmp_path: Path) -> None:
        other = dataclasses.replace(run, machine=AVX2)
        for each in (other, run):
            stored.path(each, tmp_path).write_text(stored.text(each))
        assert stored.runs(tmp_path) == [run, other]

    def test_a_run_in_the_place_of_another_class(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "avx2.json").write_text(stored.text(run))
        with pytest.raises(BuildError, match="expected a run on AVX2 without VNNI, found .*Some"):
            stored.runs(tmp_path)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("{", "expected results of a run, found: "),
            ("[]", "expected results of a run, found: "),
            ("{}", "expected results with a version, found none"),
            ('{"version": 1, "run": {}}', "expected results of version 2, found version 1"),
            ('{"version": "2"}', "expected results of a run, found: Expected `int`, got `str`"),
            ('{"version": 2, "run": {}}', "found: Object missing required field `machine`"),
        ],
    )
    def test_what_is_no_run(self, tmp_path: Path, content: str, said: str) -> None:
        path = tmp_path / "avx2.json"
        path.write_text(content)
        with pytest.raises(BuildError, match=re.escape(said)):
            stored.read(path)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match="No such file"):
            stored.read(tmp_path / "none.json")


def test_same_figures_same_bytes(run: Run) -> None:
    again = copy.deepcopy(run)
    assert page.results([again]) == page.results([run])
    assert readme.section([again]) == readme.section([run])


def test_tables_are_aligned() -> None:
    written = text.table(["", "ms"], [["one", "1.00"], ["a|b", "100"]])
    assert written == "|      |   ms |\n| ---- | ---: |\n| one  | 1.00 |\n| a\\|b |  100 |"


def test_percentiles() -> None:
    values = [float(number) for number in range(1, 12)]
    assert [text.percentile(values, p) for p in (10, 50, 90)] == [2, 6, 10]
    assert text.percentile([1.0, 2.0], 25) == 1.25
    assert text.percentile([7.0], 99) == 7


def test_what_is_committed_is_made_of_the_stored_figures() -> None:
    runs = stored.runs()
    assert runs, "python -m bench --publish writes bench/results/"
    assert (ROOT / "bench" / "RESULTS.md").read_text("utf-8") == page.results(runs)
    committed = (ROOT / "README.md").read_text("utf-8")
    assert committed == readme.placed(committed, readme.section(runs))
    for path in re.findall(r'(?:src|srcset)="([^"]+)"', readme.section(runs)):
        assert (ROOT / path).exists()


DRAW = """
import sys
from pathlib import Path
from bench import stored
from bench.report import glance, plots
run = stored.read(Path(sys.argv[1]))
print(*glance.draw(run, Path(sys.argv[2])), *plots.draw(run, Path(sys.argv[2])), sep="\\n")
"""


def drawn(run: Run, folder: Path) -> list[Path]:
    """The plots, drawn in the environment of `python -m bench`."""
    python = ensure_environment("bench", ROOT / "bench" / "requirements.txt")
    folder.mkdir(exist_ok=True)
    stored.path(run, folder).write_text(stored.text(run))
    command = [str(python), "-W", "error", "-c", DRAW, str(stored.path(run, folder)), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [Path(line) for line in done.stdout.split()]


def test_plots(run: Run, tmp_path: Path) -> None:
    run.peers["pip: onnxruntime"].problem = "answered sock for the sample"
    files = drawn(run, tmp_path / "one")
    assert sorted(file.name for file in files) == [
        *("cold.svg", "glance-dark.svg", "glance.png", "glance.svg"),
        *("size.svg", "warm.svg"),
    ]
    for file, again in zip(files, drawn(run, tmp_path / "two"), strict=True):
        assert file.read_bytes() == again.read_bytes()
        if file.suffix == ".svg":
            drawing = file.read_text("utf-8")
            assert len(drawing) < 80_000
            for said in (">this zip<", "Some Processor", "AVX512-VNNI", "2026-11-22"):
                assert said in drawing
            assert "onnxruntime" not in drawing
            assert "/" + "tmp" not in drawing
    drawing = (tmp_path / "one" / "size.svg").read_text("utf-8")
    assert "cannot be deployed: 11.03 MB over the limit" in drawing
    assert "36 MiB" in drawing


def test_the_plot_at_a_glance(run: Run, tmp_path: Path) -> None:
    """Values with units, the published ones, ratios, hello world; a zero on each axis."""
    drawn(run, tmp_path)
    light, dark = ((tmp_path / f"glance{theme}.svg").read_text("utf-8") for theme in ("", "-dark"))
    for said in ("6.44 MB", "175 MB", "254 ms", "1,260 ms", "316 ms", "150 MB", "hello world"):
        assert f">{said}" in light and f">{said}" in dark
    assert light.count(">0<") == dark.count(">0<") == 4
    assert light.count(">milliseconds<") == light.count(">MB<") == 2
    assert ">20.3 MB  (3.2x)<" in light
    assert "#0d1117" in dark and "#0d1117" not in light


def test_plots_of_what_there_is(run: Run, tmp_path: Path) -> None:
    run.warm = {"this zip": Warm([6.0])}
    run.cold = {}
    del run.size["TF.js, wasm"]
    files = drawn(run, tmp_path)
    assert {file.stem for file in files} == {"warm", "size"}
    assert drawn(empty(), tmp_path) == []
