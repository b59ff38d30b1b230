"""The report: a function of the stored figures, complete or not."""

from __future__ import annotations

import json
import random
import re
import statistics
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.cold import STAGES
from builder.errors import BuildError
from builder.paths import ROOT
from builder.tools import environment

STORED = ROOT / "bench" / "results.json"
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


def cold(name: str, total: float) -> dict[str, Any]:
    shares = {"process": 0.08 * total, "first run": 0.02 * total}
    if not name.startswith("TF.js"):
        shares |= {"receive": 0.07 * total, "unzip": 0.3 * total}
    if "precompiled" not in name and not name.startswith("TF.js"):
        shares["compile"] = 0.4 * total if total < 1000 else 150
    shares["imports and model"] = total - sum(shares.values())
    return {"stages": {s: shares[s] for s in STAGES if s in shares}, "total": total}


@pytest.fixture
def found() -> dict[str, Any]:
    """A run as `python -m bench` stores it."""
    image = {name: name.startswith("TF.js") for name in PEERS}
    answer = {"className": "giant panda, panda", "probability": 0.98, "classIndex": 389}
    return {
        "about": {
            "date": "2026-11-22",
            "machine": "x86_64, Some Processor, 2 cores",
            "memory": 25e9,
            "system": "Linux 6.8",
            "python": "3.11.7",
            "node": "24.19.0",
            "model": "mobilenet_v1",
            "pictures": {"count": 200, "bytes": 113000, "labelled": True},
            "options": {"warm": 1000, "cold": 40, "quick": False},
            "command": "python -m bench --images DIR --labels FILE",
            "minutes": 27.5,
            "interrupted": False,
        },
        "prices": {"memory": None, "step": None},
        "peers": {
            name: {
                "versions": {name.split(",")[0].removeprefix("pip: "): "1.2.3", "numpy": "4.5.6"},
                "image": image[name],
                "answer": answer,
                "problem": "",
            }
            for name in PEERS
        },
        "size": {
            name: {
                "zip": mb * 1e6,
                "unpacked": mb * 2.9e6,
                "files": 25 if name.startswith("this") else 1234,
                "over": max(0, mb * 1e6 - 37748736) if not image[name] else 0,
            }
            for name, (_, _, mb, _) in PEERS.items()
        },
        "inference": {
            "compiled here": {"ms": spread(2.3, 91)},
            "tflite-runtime 2.14.0": {"ms": spread(35, 92)},
        },
        "warm": {
            "bare interpreter": {"ms": spread(2.8, 90), "stages": {}, "right": None, "labelled": 0},
            **{
                name: {
                    "ms": spread(ms, number),
                    "stages": {"decode": 1.9, "classify": ms / 2},
                    "right": 181 - number,
                    "labelled": 200,
                }
                for number, (name, (ms, _, _, _)) in enumerate(PEERS.items())
            },
        },
        "cold": {
            name: {**cold(name, total), "start": 0.4 * total, "ms": [total] * 40}
            for name, total in {
                "hello world": 192.0,
                "hello, precompiled": 28.0,
                **{name: float(total) for name, (_, total, _, _) in PEERS.items()},
            }.items()
        },
        "memory": {
            name: {"resident": mb * 0.9e6, "private": mb * 0.5e6, "peak": mb * 1e6}
            for name, (_, _, _, mb) in PEERS.items()
        },
        "scaling": {
            "processes": {
                "this zip": [[1, 160.1], [2, 304.2]],
                "pip: tflite-runtime": [[2, 18.0], [1, 9.4]],
            },
            "quota": {
                "this zip": [
                    [0.25, {"median": 31.0, "p90": 88.0, "mean": 40.0, "init": 220.0}],
                    [1, {"median": 6.2, "p90": 7.0, "mean": 6.4}],
                ]
            },
            "megapixels": {"this zip": [[0.2, 48000, 4.2, 35e6], [48.0, 798000, 20.8, 41e6]]},
        },
    }


def row(text: str, name: str) -> list[str]:
    """The first table row of that name, without it."""
    line = next(
        line for line in text.splitlines() if re.match(rf"\| \**{re.escape(name)}\** +\|", line)
    )
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def part(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_section(found: dict[str, Any]) -> None:
    text = report.section(found)
    warm = statistics.median(found["warm"]["this zip"]["ms"])
    assert row(text, "this zip")[:4] == ["6.44 MB", "25", "254 ms", f"{warm:.2f} ms"]
    assert row(text, "this zip")[4:] == ["0.905", "37 MB", "$0.23 (128 MB)"]
    assert row(text, "pip: ai-edge-litert")[0] == (
        "48.78 MB, cannot be deployed: 11.03 MB over the limit"
    )
    assert row(text, "TF.js, wasm")[0] == "14.20 MB, in a custom image"
    assert "bare interpreter" not in text
    words = " ".join(text.split())  # lines may break anywhere
    assert "*TF.js, wasm* and *TF.js, plain JS* are in a custom image" in words
    for said in ("Some Processor", "2026-11-22", "Python 3.11.7", "Node.js 24.19.0"):
        assert said in words
    for plot in ("warm", "cold", "size"):
        assert f"](docs/bench/{plot}.svg)" in text


def test_targets_that_are_met_and_not(found: dict[str, Any]) -> None:
    found["warm"]["this zip"]["ms"] = [6.0]
    found["warm"]["pip: tflite-runtime"]["ms"] = [102.0]
    found["memory"]["pip: tflite-runtime"] = {"resident": 73.8e6, "private": 1, "peak": 80e6}
    found["size"]["pip: tflite-runtime"]["zip"] = 32.1e6
    text = report.section(found)
    assert "- 4.98x smaller (at least 5x was the target): **falls short of 5x**" in text
    assert "- 10.99x faster cold (at least 5x was the target): met; precompiled, 24.28x" in text
    assert "- 17.00x faster warm (at least 20x was the target): **falls short of 20x**" in text
    assert "- 0.50x the memory (at most 0.5x was the target): met; 0.51x at its peak" in text
    assert "- 17.00x faster warm" in report.results(found)


def test_all_tables(found: dict[str, Any]) -> None:
    text = report.results(found)
    assert "measured in this run" not in text
    assert row(part(text, "What was compared"), "pip: onnxruntime") == [
        *("onnxruntime 1.2.3, numpy 4.5.6", "as a zip", "giant panda", "389", "0.980")
    ]
    assert row(part(text, "A warm activation"), "bare interpreter")[4:] == [
        *("1.00x", "0.45x", "-", "300")
    ]
    assert row(part(text, "A cold start"), "this zip, precompiled") == [
        *("8.05", "34.5", "-", "9.20", "60.9", "2.30", "115", "0.60x", "40")
    ]
    assert row(part(text, "A cold start"), "TF.js, wasm")[:3] == ["-", "-", "-"]
    assert row(part(text, "Memory"), "this zip") == ["37", "20", "41", "0.37x", "128 MB"]
    assert row(part(text, "More processes"), "pip: tflite-runtime") == [
        *("9.4 (1.00x)", "18.0 (1.91x)")
    ]
    assert row(part(text, "Less CPU"), "this zip") == ["0.25", "31.0", "88.0", "40.0", "220"]
    assert "| this zip |     1 |   6.20 | 7.00 | 6.40 |    - |" in text
    assert row(part(text, "Larger pictures"), "this zip") == ["0.2", "48", "4.20", "1.00x", "35"]
    costs = part(text, "What it costs")
    assert costs.count("### ") == 3
    article = part(text, "What it costs").partition("### DigitalOcean")[0]
    assert row(article, "pip: ai-edge-litert")[0] == "256 MB"
    assert row(article, "TF.js, plain JS")[0] == "512 MB"
    assert "256 MB, too little" in article
    assert row(article, "pip: tflite-runtime")[1:] == [
        *("200 ms", "$0.85", "8,000,000", "2,800 ms", "$11.90", "571,428")
    ]


def test_prices_of_ones_own(found: dict[str, Any]) -> None:
    found["prices"] = {"gb_second": 0.001, "memory": 1024}
    costs = part(report.results(found), "What it costs")
    assert costs.count("### ") == 4
    assert row(costs, "this zip")[:3] == ["128 MB", "100 ms", "$12.50"]
    assert "1024 MB |       100 ms |     $100.00 |" in costs


def test_a_wrong_peer_is_named_and_no_more(found: dict[str, Any]) -> None:
    found["peers"]["pip: onnxruntime"]["problem"] = "answered sock for the sample"
    for text in (report.section(found), report.results(found)):
        said = " ".join(text.split())
        assert "Left out: *pip: onnxruntime*: answered sock for the sample." in said
        assert not re.search(r"^\| pip: onnxruntime", text, re.MULTILINE)
    assert "pip: onnxruntime" in found["warm"]  # what was given is as it was


@pytest.mark.parametrize(
    "missing", ["peers", "size", "warm", "cold", "memory", "scaling", "prices"]
)
def test_what_was_not_measured_is_said(found: dict[str, Any], missing: str) -> None:
    del found[missing]
    found["about"]["interrupted"] = True
    assert "The run was interrupted" in report.section(found)
    text = report.results(found)
    if missing != "prices":
        assert "Not measured in this run." in text


def test_nothing_at_all() -> None:
    assert report.section({}).count("not measured in this run") == len(report.TARGETS)
    text = report.results({})
    assert text.count("Not measured in this run.") == text.count("\n## ") - 3  # targets, two texts


def test_why_there_was_no_quota(found: dict[str, Any]) -> None:
    found["scaling"]["quota"] = {}
    found["scaling"]["quota problem"] = "no cgroups here."
    assert "It could not be done: no cgroups here." in part(report.results(found), "Less CPU")


def test_same_figures_same_bytes(found: dict[str, Any]) -> None:
    again = json.loads(json.dumps(found))
    assert report.results(again) == report.results(found)
    assert report.section(again) == report.section(found)


def test_tables_are_aligned() -> None:
    text = report.table(["", "ms"], [["one", "1.00"], ["a|b", "100"]])
    assert text == "|      |   ms |\n| ---- | ---: |\n| one  | 1.00 |\n| a\\|b |  100 |"


def test_percentiles() -> None:
    values = [float(number) for number in range(1, 12)]
    assert [report.percentile(values, p) for p in (10, 50, 90)] == [2, 6, 10]
    assert report.percentile([1.0, 2.0], 25) == 1.25
    assert report.percentile([7.0], 99) == 7


def test_the_readmes_section_is_replaced() -> None:
    readme = f"before\n{report.START}\nold\n{report.END}\nafter\n"
    once = report.placed(readme, "## new\n")
    assert once == f"before\n{report.START}\n## new\n{report.END}\nafter\n"
    assert report.placed(once, "## new\n") == once
    for broken in ("nothing", report.START, f"{report.END}\n{report.START}"):
        with pytest.raises(BuildError, match="expected the lines"):
            report.placed(broken, "## new\n")


@pytest.mark.skipif(not STORED.exists(), reason="no bench/results.json: python -m bench writes it")
def test_what_is_committed_is_made_of_the_stored_figures() -> None:
    stored = json.loads(STORED.read_text("utf-8"))
    assert (STORED.with_name("RESULTS.md")).read_text("utf-8") == report.results(stored)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme == report.placed(readme, report.section(stored))
    for name in report.PLOTS:
        assert (ROOT / "docs" / "bench" / f"{name}.svg").exists()


DRAW = """
import json, sys
from pathlib import Path
from bench import plots
print(*plots.draw(json.load(sys.stdin), Path(sys.argv[1])), sep="\\n")
"""


def drawn(found: dict[str, Any], folder: Path) -> list[Path]:
    """The plots, drawn in the environment of `python -m bench`."""
    python = environment("bench", ROOT / "bench" / "requirements.txt")
    command = [str(python), "-W", "error", "-c", DRAW, str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, input=json.dumps(found), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [Path(line) for line in done.stdout.split()]


def test_plots(found: dict[str, Any], tmp_path: Path) -> None:
    found["peers"]["pip: onnxruntime"]["problem"] = "answered sock for the sample"
    files = drawn(found, tmp_path / "one")
    assert sorted(file.name for file in files) == [
        *("cold.png", "cold.svg", "size.png", "size.svg", "warm.png", "warm.svg")
    ]
    for file, again in zip(files, drawn(found, tmp_path / "two"), strict=True):
        assert file.read_bytes() == again.read_bytes()
        if file.suffix == ".svg":
            text = file.read_text("utf-8")
            assert len(text) < 60_000
            for said in (">this zip<", "Some Processor", "2026-11-22"):
                assert said in text
            assert "onnxruntime" not in text
            assert "/" + "tmp" not in text
    text = (tmp_path / "one" / "size.svg").read_text("utf-8")
    assert "cannot be deployed: 11.03 MB over the limit" in text
    assert "36 MiB" in text


def test_plots_of_what_there_is(found: dict[str, Any], tmp_path: Path) -> None:
    found["warm"] = {"this zip": {"ms": [6.0]}}
    del found["cold"], found["size"]["TF.js, wasm"]
    files = drawn(found, tmp_path)
    assert {file.stem for file in files} == {"warm", "size"}
    assert drawn({}, tmp_path) == []
