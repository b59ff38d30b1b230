"""The log of a command: it fits the terminal, and no word is cut."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from builder.base.console import Console
from builder.base.paths import ROOT
from tests.support.terminal import run_on_terminal, without_control

NOTE = (
    "no container engine answers: taking ready-made wheels. Compiled packages would make the zip a "
    "fifth of the size, and quicker to start: install one (docker, podman, buildah)"
)
COMMAND = (
    "wsk action create classify '/a folder/of mine/classify.zip' --kind python:3.11 --memory 128"
)
SCRIPT = f"""
from builder.base import console
console = console.Console()
with console.step("packages for Python 3.11") as details:
    details.append("numpy 2.4.6 and pillow 13.0.0 and ai-edge-litert 2.3.0 of the package index")
    console.status("cp311/wrapper: 30 % of what there is to compile in this step (123 s)")
    console.status("")
console.note({NOTE!r})
console.warn({NOTE!r})
console.table(("part", "files", "unpacked", "in the zip", "share"), [
    ("model mobilenet_v1_1.0_224_quant MobileNet v1 1.0 224", "1", "4,568,816", "4,568,9", "70 %"),
    ("numpy 2.4.6", "12", "1,568,816", "68,900", "10.1 %"),
])
console.text("    " + {NOTE!r})
console.command({COMMAND!r})
"""


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_lines_fit_the_terminal(width: int) -> None:
    status, shown = run_on_terminal([sys.executable, "-c", SCRIPT], ROOT, width)
    text = without_control(shown)
    assert status == 0, text
    text, _, command = text.rpartition("  wsk action")
    assert f"wsk action{command}".rstrip() == COMMAND
    lines = [part for line in text.splitlines() for part in line.split("\r")]
    assert max(map(len, lines)) <= width
    words = {word.strip(".,:()") for line in lines for word in re.split(r"[\s│┃]+", line)}
    for word in ("ai-edge-litert", "engine", "quicker"):
        assert word in words
    rows = [line.split() for line in lines if re.match("part|model|numpy", line)]
    assert [row[-1] for row in rows[:3]] == ["share", "%", "%"]
    assert "cp311/wrapper: 30 %" in text


def test_in_a_file_nothing_is_broken(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "40"},
        capture_output=True,
        text=True,
    )
    assert f"  · {NOTE}\n" in done.stderr
    assert f"  {COMMAND}\n" in done.stderr
    assert "\nnumpy 2.4.6 " in done.stderr
    assert "\x1b" not in done.stderr


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    console, text = Console(), "\x1b[31mred\x9b"
    console.text(text)
    console.status(text)
    console.table(("part",), [(text,)])
    with console.step(text):
        console.warn(text)
    shown = capsys.readouterr().err
    assert shown.replace("\n", "").isprintable() and shown.count("\\x1b[31mred") == 5
