"""The classifier: from a model's output to ranked classes."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from action.classifier import Classifier, count_threads
from action.cpus import read_quota
from action.request import Options
from tests.support.models import SIDE, DenseModel

RED = np.zeros((SIDE, SIDE, 3), np.uint8)
RED[..., 0] = 255


def classifier(folder: Path, want: DenseModel, **settings: Any) -> Classifier:
    want.write(folder / "m.tflite")
    all_settings = {
        "name": "m",
        "crop": 1.0,
        "size": [SIDE, SIDE, want.channels],
        "mean": [0.0],
        "std": [255.0],
        "activation": "",
        "labels": [f"name {n}" for n in range(max(want.outputs, 2))],
        **settings,
    }
    return Classifier(all_settings, str(folder / "m.tflite"))


def test_classes_of_probability_zero_need_a_given_top_k(tmp_path: Path) -> None:
    """A quantized softmax of 1001 classes has mostly zeros."""
    model = classifier(tmp_path, DenseModel("uint8", outputs=1001))
    some = model.rank(RED, Options(1001, 0.0, False, 1001, top_k_given=False))
    assert 0 < len(some) < 1001
    assert all(each["probability"] > 0 for each in some)
    everything = model.rank(RED, Options(1001, 0.0, False, 1001))
    assert len(everything) == 1001
    assert everything[: len(some)] == some


def test_background_class_is_marked(tmp_path: Path) -> None:
    model = classifier(tmp_path, DenseModel(outputs=3), background=1)
    marked = [each for each in model.rank(RED, Options(3, 0.0, False, 3)) if "background" in each]
    assert [each["className"] for each in marked] == ["name 1"]


def test_single_score_ranks_two_classes(tmp_path: Path) -> None:
    want = DenseModel(head="sigmoid", outputs=1, seed=3)
    model = classifier(tmp_path, want)
    share = want.answer(RED)
    ranked = model.rank(RED, Options(2, 0.0, False, 2))
    assert {each["className"]: each["probability"] for each in ranked} == {
        "name 0": pytest.approx(share[0], abs=1e-6),
        "name 1": pytest.approx(share[1], abs=1e-6),
    }
    one = Options(1, 0.0, False, 2)
    assert len(model.rank(RED, one)) == 1
    model = classifier(tmp_path, DenseModel(head="logits", outputs=1, seed=3), activation="sigmoid")
    assert model.rank(RED, one)[0]["probability"] == ranked[0]["probability"]


def test_softmax_of_large_logits_is_finite(tmp_path: Path) -> None:
    model = classifier(tmp_path, DenseModel(head="logits"), activation="softmax", std=[0.01])
    scores = model.scores(model.run(RED))
    assert np.isfinite(scores).all()
    assert scores.sum() == pytest.approx(1)


def test_nan_raises(tmp_path: Path) -> None:
    """EXP of unscaled pixels overflows."""
    model = classifier(tmp_path, DenseModel(head="decomposed"), std=[0.01])
    white = np.full_like(RED, 255)
    with pytest.raises(ArithmeticError, match="not a number"):
        model.rank(white, Options(3, 0.0, False, 3))


@pytest.mark.parametrize(
    ("memberships", "contents", "cpus"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, inf),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1.0),
        (
            "4:cpu,cpuacct:/docker/0\n1:name=systemd:/\n0::/\n",  # the host's path
            {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        ("7:memory:/\n", {"cpu.max": "100000 100000\n"}, inf),
    ],
)
def test_cpu_quota_is_that_of_the_tightest_cgroup(
    tmp_path: Path, memberships: str, contents: dict[str, str], cpus: float
) -> None:
    mount = tmp_path / "sys" / "fs" / "cgroup"
    files = {tmp_path / "proc" / "self" / "cgroup": memberships}
    files |= {mount / name: text for name, text in contents.items()}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert read_quota(f"{tmp_path}/") == cpus


@pytest.mark.parametrize(
    ("interpreter", "cpus", "quota", "wanted", "threads"),
    [
        ("tflite_runtime", 8, 1.6, 0, 2),
        ("tflite_runtime", 8, 1.5, 0, 1),
        ("tflite_runtime", 1, inf, 0, 1),
        ("tflite_runtime", 8, inf, 1, 1),
        ("tflite_runtime", 1, inf, 2, 2),
        ("ai_edge_litert", 8, inf, 2, 1),
    ],
)
def test_two_threads_only_where_they_have_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
    interpreter: str,
    cpus: int,
    quota: float,
    wanted: int,
    threads: int,
) -> None:
    monkeypatch.setattr("action.classifier.INTERPRETER", interpreter)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cpus)))
    monkeypatch.setattr("action.cpus.read_quota", lambda: quota)
    assert count_threads(wanted) == threads
