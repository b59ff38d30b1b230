"""Activations of built zips, portable and precompiled, as OpenWhisk's runtime invokes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.artifact import actionloop, modules
from builder.artifact.smoke import SAMPLE
from builder.base.archive import read_zip
from tests.conftest import EACH_PYTHON, IMAGE, base64_of, encoded, interpreter, plain
from tests.support.compiled import run_with_zip

ESPRESSO = base64_of(SAMPLE)
REQUESTS: tuple[Any, ...] = (
    {"image": ESPRESSO},
    {"image": f"data:image/jpeg;base64,{ESPRESSO}", "threshold": 0.01},
    {"images": [ESPRESSO, "*", base64_of(encoded(plain("red"))), 7]},
    {"image": base64_of(SAMPLE.read_bytes()[:5000])},
    {"image": "é\u2028\ud800"},
    {"image": ESPRESSO, "topK": 0},
    "text",
    {"__ow_method": "get", "__ow_headers": {"accept": "text/html"}},
    {"__ow_method": "post", "__ow_headers": {"content-type": "image/jpeg"}, "__ow_body": ESPRESSO},
)


def test_classes_are_ranked_and_cut_off(action: actionloop.RunningAction) -> None:
    every = action.run({"image": ESPRESSO, "topK": 1000})["results"]
    assert len(every) == 1000
    assert sum(result["probability"] for result in every) == pytest.approx(1, abs=0.1)
    assert every == sorted(every, key=lambda result: -result["probability"])
    assert action.run({"image": ESPRESSO}) == {"results": every[:3]}
    assert action.run({"image": ESPRESSO, "topK": 1})["results"] == every[:1]
    some = action.run({"image": ESPRESSO, "topK": 1000, "threshold": every[1]["probability"]})
    assert some["results"] == [r for r in every if r["probability"] >= every[1]["probability"]]
    assert action.run({"image": ESPRESSO, "threshold": 1})["results"] == []


def test_details_leave_the_results_unchanged(action: actionloop.RunningAction) -> None:
    bare = action.run({"image": ESPRESSO})
    answer = action.run({"image": ESPRESSO, "details": True})
    kept = [{k: r[k] for k in ("className", "probability")} for r in answer["results"]]
    assert kept == bare["results"]
    assert answer["results"][0]["wordnetId"] == "n07920052"
    assert isinstance(answer["results"][0]["classIndex"], int)
    details = answer["details"]
    size = {"width": 600, "height": 400, "bytes": SAMPLE.stat().st_size}
    assert details["image"] == {"format": "JPEG", **size}
    assert details["model"]["input"] == [224, 224, 3]
    assert details["start"] == "warm"
    assert details["timings"].keys() == {"decode", "classify", "total", "init"}
    assert details["timings"]["total"] >= details["timings"]["decode"] > 0
    assert 20 < details["memory"]["rss"] < 400
    batch = action.run({"images": [ESPRESSO, "*"], "details": True})
    assert batch["predictions"][0]["details"]["image"] == details["image"]
    assert batch["details"]["model"] == details["model"]


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_portable_and_precompiled_zips_give_the_same_answers(
    make_zip: Callable[..., Path], imagenet_model: str, python: str
) -> None:
    found = []
    for execution_env in ("", IMAGE):
        archive = make_zip(python, imagenet_model, execution_env=execution_env)
        with actionloop.start_action(archive, interpreter(python)) as running:
            found.append([running.run(request) for request in REQUESTS])
            log = running.log()
        assert log.count("\nclassify warm") == len(REQUESTS) - 1
        assert log.count("classify cold") == 1
    assert found[1] == found[0]
    assert ["error" in answer for answer in found[0]] == [False] * 3 + [True] * 4 + [False] * 2


def test_executable_of_a_precompiled_zip_names_the_images_python(precompiled_path: Path) -> None:
    start = read_zip(precompiled_path).files["exec"]
    assert start.startswith(b"#!/usr/local/bin/python -ISB\n")


@pytest.mark.thorough
def test_two_pythons_in_one_zip(make_zip: Callable[..., Path], imagenet_model: str) -> None:
    """The function imports the packages for its Python; a third Python gets an error."""
    archive = make_zip("3.11,3.12", imagenet_model, provider="wheels")
    for python in ("3.11", "3.12"):
        with actionloop.start_action(archive, interpreter(python)) as running:
            answer = running.run({"image": ESPRESSO, "details": True})
        assert answer["details"]["python"].startswith(python)
        assert answer["results"][0]["className"] == "espresso"
    with actionloop.start_action(archive, interpreter("3.13")) as running:
        assert "built for Python 3.11, 3.12, this runtime is 3.13" in running.run({})["error"]


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_every_shipped_module_imports(
    make_zip: Callable[..., Path], imagenet_model: str, python: str, tmp_path: Path
) -> None:
    """What the removal lists leave must be whole."""
    assert_all_import(make_zip(python, imagenet_model, provider="wheels"), python, tmp_path)


def assert_all_import(path: Path, python: str, folder: Path, least: int = 60) -> None:
    """Import each module of a zip in a clean interpreter, with nothing but the zip's packages."""
    names = modules.read_index(read_zip(path).files, python).names
    assert len(names) > least
    code = (
        "import importlib, json, warnings; warnings.simplefilter('ignore'); bad = {}\n"
        f"for name in {sorted(names)}:\n"
        "    try: importlib.import_module(name)\n"
        "    except BaseException as e: bad[name] = repr(e)\n"
        "print(json.dumps(bad))"
    )
    assert json.loads(run_with_zip(path, python, code, folder)) == {}


def test_accuracy(action: actionloop.RunningAction, shared_images: Path) -> None:
    """Top-1 on the labelled pictures, through the zip."""
    rows = [
        line.split("\t") for line in (shared_images / "labels.tsv").read_text().splitlines()[1:]
    ]
    right = 0
    for file, _, label in rows:
        answer = action.run({"image": base64_of(shared_images / file), "topK": 1})
        right += answer["results"][0]["className"] == label
    print(f"top-1 {right / len(rows):.3f} of {len(rows)}")
    assert right / len(rows) >= 0.88
