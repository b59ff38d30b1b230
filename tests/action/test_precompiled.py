"""A precompiled zip: its executable, and answers equal to the portable zip's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base import cpython
from tests.conftest import EACH_PYTHON, HERE, IMAGE, PYTHONS, base64_of, encoded, interpreter, plain

ESPRESSO = base64_of(SAMPLE)
REQUESTS: tuple[Any, ...] = (
    {"image": ESPRESSO},
    {"image": ESPRESSO, "topK": 1000},
    {"image": f"data:image/jpeg;base64,{ESPRESSO}", "threshold": 0.01},
    {"images": [ESPRESSO, "*", base64_of(encoded(plain("red"))), 7]},
    {"image": base64_of(SAMPLE.read_bytes()[:5000])},
    {"image": "é\u2028\ud800"},
    {"image": "", "topk": 3},
    {"image": ESPRESSO, "topK": 0},
    {},
    [],
    None,
    "text",
    {"__ow_method": "get", "__ow_headers": {}},
    {"__ow_method": "get", "__ow_headers": {"accept": "text/html"}},
    {"__ow_method": "post", "__ow_headers": {"content-type": "image/jpeg"}, "__ow_body": ESPRESSO},
)


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_answers_equal_those_of_the_portable_zip(
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
    assert ["error" in answer for answer in found[0]] == [False] * 4 + [True] * 8 + [False] * 3


@pytest.mark.skipif(not shutil.which("unzip"), reason="no unzip on this machine")
def test_unzip_keeps_the_executable(precompiled_path: Path, tmp_path: Path) -> None:
    subprocess.run(["unzip", "-q", str(precompiled_path), "-d", str(tmp_path)], check=True)
    start = tmp_path / "exec"
    assert os.access(start, os.X_OK)
    assert start.read_text().startswith("#!/usr/local/bin/python -ISB\n")
    assert (tmp_path / "exec.env").read_text() == IMAGE
    assert not (tmp_path / "__main__.py").exists()
    executable = [p.name for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_mode & 0o111]
    assert executable == ["exec"]


def test_other_python_is_refused(precompiled_path: Path) -> None:
    other = next((v for v in PYTHONS if v != HERE and cpython.find_python(v)), None)
    if other is None:
        pytest.skip("no second Python on this machine")
    with actionloop.start_action(precompiled_path, interpreter(other)) as running:
        for _ in range(2):
            error = running.run({"image": ESPRESSO})["error"]
            assert error.startswith(f"built for Python {HERE}, this runtime is {other}: ")
