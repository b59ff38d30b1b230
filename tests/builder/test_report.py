"""The report of a build: where the model's nodes run, and the commands that deploy it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from builder.report import commands, describe_nodes, describe_platforms


@pytest.mark.parametrize(
    ("delegated", "others", "text"),
    [
        (3, [], "3 of 3 nodes run on XNNPACK"),
        (2, ["CUMSUM"], "2 of 3 nodes run on XNNPACK; not CUMSUM"),
        (0, ["CONV_2D"] * 3, "0 of 3 nodes run on XNNPACK: this interpreter was built without it"),
        (1, ["QUANTIZE", "QUANTIZE"], "1 of 3 nodes run on XNNPACK; not 2 QUANTIZE"),
    ],
)
def test_nodes_outside_xnnpack_are_named(delegated: int, others: list[str], text: str) -> None:
    nodes = {"total": 3, "delegated": delegated, "others": others}
    assert describe_nodes(nodes).startswith(text)


def test_platforms_are_named() -> None:
    serverless = "apacheopenserverless/runtime-python-v3.12.2"
    for python, env, text in (
        ("3.10", "", "Deploy it on OpenWhisk:"),
        ("3.12", "", "Deploy it on OpenWhisk or OpenServerless:"),
        ("3.12", serverless, f"on OpenServerless, where OW_EXECUTION_ENV is {serverless}:"),
        ("3.12", "own", "Deploy it where OW_EXECUTION_ENV is own:"),
        ("3.14", "", "Deploy it:"),
    ):
        assert describe_platforms(python, env).endswith(text)


def test_printed_commands_name_each_kind_and_can_be_pasted() -> None:
    for name in ("my zip's $HOME.zip", "a&b.zip", "-x.zip", "ümlaut.zip"):
        lines = commands(Path("/a", name), ["3.10", "3.11"], 256)
        assert [shlex.split(line)[4:] for line in lines] == [
            [f"/a/{name}", "--kind", f"python:{python}", "--memory", "256"]
            for python in ("3.10", "3.11")
        ]
