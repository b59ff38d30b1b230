"""A precompiled zip: its executable, and answers equal to the portable zip's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.archive import read_zip
from tests.conftest import EACH_PYTHON, IMAGE, base64_of, encoded, interpreter, plain

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
    assert ["error" in answer for answer in found[0]] == [False] * 3 + [True] * 4 + [False] * 2


def test_executable_names_the_python_of_the_image(precompiled_path: Path) -> None:
    start = read_zip(precompiled_path).files["exec"]
    assert start.startswith(b"#!/usr/local/bin/python -ISB\n")
