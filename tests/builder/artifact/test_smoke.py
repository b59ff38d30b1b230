"""The smoke test of a finished zip: every answer counts."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from builder.artifact import smoke
from builder.artifact.smoke import SAMPLE
from builder.base.errors import SmokeError

MAIN = """\
calls = 0
def main(params):
    global calls
    calls += 1
    answer = {"results": [{"className": "espresso", "wordnetId": "n1"}],
              "details": {"memory": {"rss": calls}, "model": {"nodes": {}}}}
    %s
    return answer
"""


def checked(tmp_path: Path, line: str, expected: str = "n1") -> smoke.SmokeResult:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", MAIN % line)
    return smoke.run_smoke_test(path, sys.executable, SAMPLE, expected)


def test_what_passes(tmp_path: Path) -> None:
    assert checked(tmp_path, "pass").rss == 6  # the most


@pytest.mark.parametrize("call", [1, 2, 6])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("if calls == {}: return {{'error': 'no'}}", 'the sample picture got {{"error": "no"}}'),
        ("if calls == {}: return {{'results': []}}", "the sample picture got"),
        ("if calls == {}: return [1]", "the sample picture got"),
        (
            "if calls == {}: answer['results'][0]['wordnetId'] = 'n2'",
            "the sample picture must be n1, found",
        ),
    ],
)
def test_one_bad_answer_of_six(tmp_path: Path, call: int, line: str, said: str) -> None:
    with pytest.raises(SmokeError) as caught:
        checked(tmp_path, line.format(call))
    assert str(caught.value).startswith(f"activation {call} of 6: {said.format()}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("if calls == 5: answer['results'][0]['className'] = 'cup'", "must get the same answer"),
        ("del answer['details']", "the answers lack a detail that was asked for: 'details'"),
        ("import os; os.write(3, b'what\\n')", "the answer is no JSON"),
        ("import os; os._exit(3)", "the action died (exit status 3)"),
    ],
)
def test_other_ways_to_fail(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(SmokeError) as caught:
        checked(tmp_path, line, "")
    assert said in str(caught.value)


def test_the_log_is_quoted_in_whole_lines_and_once(tmp_path: Path) -> None:
    line = "print('x' * 3000); print('bad'); print('bad'); import os, sys; "
    line += "sys.stdout.flush(); os._exit(1)"
    with pytest.raises(SmokeError) as caught:
        checked(tmp_path, line)
    assert str(caught.value).splitlines()[-2:] == ["x" * 3000, "bad"]
