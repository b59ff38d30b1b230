"""The smoke test of a finished zip: every answer counts, and so does the memory."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builder.artifact.memory import check_measurement
from builder.artifact.smoke import SAMPLE, SmokeResult, run_smoke_test
from builder.base.errors import BuildError, SmokeError
from builder.model.agreement import Trial

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


TRIAL = Trial({"dots": b"a PNG"}, np.array([[0.1, 0.9]]))


def run(tmp_path: Path, line: str, expected: str = "n1", trial: Trial | None = None) -> SmokeResult:
    """Test a zip whose function runs one more line."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", MAIN % line)
    return run_smoke_test(path, sys.executable, SAMPLE, expected, trial)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        *(
            (f"if calls == {call}: return [1]", f"activation {call} of 6: the sample picture got")
            for call in (1, 2, 6)
        ),
        ("return {'error': 'no'}", 'of 6: the sample picture got {"error": "no"}'),
        ("return {'results': []}", "of 6: the sample picture got"),
        ("answer['results'][0]['wordnetId'] = 'n2'", "the sample picture must be n1, found"),
        ("if calls == 5: answer['results'][0]['className'] = 'cup'", "must get the same answer"),
        ("del answer['details']", "the answers lack a detail that was asked for: 'details'"),
        ("import os; os.write(3, b'what\\n')", "the answer is no JSON"),
        ("import os; os._exit(3)", "the action died (exit status 3)"),
    ],
)
def test_faults_of_answers_are_named(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(SmokeError) as caught:
        run(tmp_path, line)
    assert problem in str(caught.value)


def test_answers_are_compared_with_the_trial(tmp_path: Path) -> None:
    line = "answer['results'][0] |= {'classIndex': 1, 'probability': %s}"
    result = run(tmp_path, line % 0.88, trial=TRIAL)
    assert result.compared == 1
    assert result.rss == 6  # the most of all activations
    assert result.difference == pytest.approx(0.02)
    for wrong, problem in (
        (line % 0.33, r"disagrees with the trial's on the picture dots: expected class 1 with"),
        ("pass", r"the picture dots got \{"),
    ):
        with pytest.raises(SmokeError, match=problem) as caught:
            run(tmp_path, wrong, trial=TRIAL)
    assert not caught.value.hint


def test_log_is_quoted_in_whole_lines_and_once(tmp_path: Path) -> None:
    line = "print('x' * 3000); print('bad'); print('bad'); import os, sys; "
    line += "sys.stdout.flush(); os._exit(1)"
    with pytest.raises(SmokeError) as caught:
        run(tmp_path, line)
    assert str(caught.value).splitlines()[-2:] == ["x" * 3000, "bad"]


def test_memory_above_the_estimate_fails_the_build() -> None:
    check_measurement(128, 5_000_000, 31e6)
    with pytest.raises(BuildError, match="expected at most 128 MB by the estimate, measured 256"):
        check_measurement(128, 5_000_000, 90e6)
