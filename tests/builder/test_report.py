"""What is said of a zip: where the model's nodes run, and how to deploy it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.report import commands, describe_nodes


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (
            {"total": 30, "delegated": 30, "others": []},
            "30 of 30 nodes run on XNNPACK",
        ),
        (
            {"total": 31, "delegated": 30, "others": ["SOFTMAX"]},
            "30 of 31 nodes run on XNNPACK; not SOFTMAX (XNNPACK's graphs have no quantized "
            "softmax)",
        ),
        (
            {"total": 33, "delegated": 30, "others": ["QUANTIZE", "SOFTMAX", "QUANTIZE"]},
            "30 of 33 nodes run on XNNPACK; not 2 QUANTIZE, SOFTMAX (XNNPACK's graphs do not "
            "change int8 to uint8 or back; XNNPACK's graphs have no quantized softmax)",
        ),
        (
            {"total": 3, "delegated": 2, "others": ["CUMSUM"]},
            "2 of 3 nodes run on XNNPACK; not CUMSUM",
        ),
        (
            {"total": 2, "delegated": 0, "others": ["CONV_2D", "SOFTMAX"]},
            "0 of 2 nodes run on XNNPACK: this interpreter was built without it, or it was "
            "refused; that is slow",
        ),
    ],
)
def test_where_nodes_run(nodes: dict[str, Any], said: str) -> None:
    assert describe_nodes(nodes) == said


def test_commands() -> None:
    path = Path("/a/b.zip")
    create = "wsk action create classify /a/b.zip --kind"
    assert commands(path, ["3.10", "3.11"]) == [
        f"{create} python:3.10 --memory 256",
        f"{create} python:3.11 --memory 256",
        f"{create} python:3 --memory 256",
    ]
    assert commands(path, ["3.11"], precompiled=True) == [f"{create} python:3.11 --memory 256"]
