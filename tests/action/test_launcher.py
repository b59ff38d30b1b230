"""The launcher: each activation has a result, whatever the function returns, raises or closes.

Where the stock launcher answers too, the results are the same. In all other cases it dies, and its
container with it.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from builder.artifact.actionloop import LAUNCHER, RunningAction
from builder.artifact.contents import EXEC
from builder.base.errors import SmokeError
from builder.base.paths import ACTION
from tests.conftest import EACH_PYTHON, HERE, interpreter

LAUNCHERS = ("stock", "ours")
LINE = '{"value": {"name": "Ada"}}'
DEPTH = 200_000
TOO_DEEP = {"error": "maximum recursion depth exceeded"}

# The body of a function, and its result; of an error, a part of its text. Some get another LINE.
SAME: list[tuple[Any, ...]] = [
    ("return {'got': params}", {"got": {"name": "Ada"}}),
    ("return [1, 2.5, True, None]", [1, 2.5, True, None]),
    ("return 'é☃😀\\u2028\\u0085\\0'", "é☃😀\u2028\u0085\0"),
    ("return params", "é" * 500_000, '{"value": "%s"}' % ("é" * 500_000)),
    ("return [*map(ord, params)]", [0xE9, 0x2028, 0xD800, 0], '{"value": "é\u2028\\ud800\\u0000"}'),
    ("return len(params)", 1, b'{"value": "\xff"}'),
    ("return params", {}, '{"activation_id": "1"}'),
    ("raise ValueError('für ☃ \\u2028\\nzwei')", {"error": "für ☃ \u2028\nzwei"}),
    ("return main(params)", TOO_DEEP),
    ("sys.stderr = None; raise ValueError('x')", {"error": "x"}),
]
OURS: list[tuple[Any, ...]] = [
    ("return {'x': float('nan')}", {"error": "not JSON compliant"}),
    ("return b'ab'", {"error": "type bytes is not JSON serializable"}),
    ("a = []; a.append(a); return a", {"error": "Circular reference"}),
    ("raise ValueError", {"error": "ValueError"}),
    ("raise type('Bad', (Exception,), {'__str__': lambda it: 1 / 0})", {"error": "Bad"}),
    ("raise ValueError('\\ud800')", {"error": "\ud800"}),
    ("sys.exit(3)", {"error": "exit status 3"}),
    ("raise KeyboardInterrupt", {"error": "KeyboardInterrupt"}),
    (f"a = []\n    for _ in range({DEPTH}): a = [a]\n    return a", TOO_DEEP),
    ("return 1", TOO_DEEP, '{"value": ' + "[" * DEPTH + "]" * DEPTH + "}"),
    ("return 1", {"error": "Expecting value"}, "hello"),
    ("return 1", {"error": ""}, "[1, 2]"),
    ("return os.environ['__OW_DEADLINE']", "5", '{"value": {}, "deadline": 5}'),
    ("sys.stdout.close(); return 1", 1),
    ("sys.stderr.close(); raise ValueError('x')", {"error": "ValueError"}),
]


def started(folder: Path, launcher: str, module: str, python: str = HERE) -> closing[RunningAction]:
    """Start a module with a `main` by one of the launchers."""
    unpacked(folder, launcher, module)
    return closing(RunningAction(folder, interpreter(python), {}, isolated=True))


def unpacked(folder: Path, launcher: str, module: str) -> Path:
    """Write `main__.py` and a launcher to a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "main__.py").write_text(module, "utf-8")
    if launcher == "stock":
        (folder / "exec__.py").write_text(LAUNCHER)
        return folder
    (folder / "exec").write_text(EXEC)
    (folder / "action").mkdir()
    for name in ("__init__.py", "launcher.py"):
        (folder / "action" / name).write_bytes((ACTION / name).read_bytes())
    return folder


def module_of(body: str) -> str:
    return f"import os, sys\n\ndef main(params):\n    {body}\n"


@pytest.mark.parametrize("python", EACH_PYTHON)
@pytest.mark.parametrize(
    ("launcher", "case"),
    [(launcher, case) for case in SAME for launcher in LAUNCHERS]
    + [("ours", case) for case in OURS],
)
def test_each_activation_has_its_result(
    tmp_path: Path, launcher: str, case: tuple[Any, ...], python: str
) -> None:
    body, expected, line = (*case, LINE)[:3]
    line = line if isinstance(line, bytes) else line.encode()
    with started(tmp_path / "a", launcher, module_of(body), python) as action:
        for result in (action.send(line), action.send(line)):
            if isinstance(expected, dict) and "error" in expected:
                assert [*result] == ["error"], action.log()
                assert expected["error"] in result["error"]
            else:
                assert result == expected, action.log()


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("python", EACH_PYTHON)
def test_log_is_complete_before_the_result(tmp_path: Path, launcher: str, python: str) -> None:
    """With the traceback of an error."""
    module = (
        "import sys\nprint('import, out é')\nprint('import, err', file=sys.stderr)\n"
        "def main(params):\n    print('run, out ☃', end='')\n"
        "    print('run, err', end='', file=sys.stderr)\n    print('y' * 100_000, end='')\n"
        "    missing = params['né']  # here\n"
    )
    with started(tmp_path / "a", launcher, module, python) as action:
        for runs in (1, 2, 3):
            assert action.run({}) == {"error": "'né'"}
            log = action.log()
            assert log.count("import, out é") == log.count("import, err") == 1
            assert log.count("run, out ☃") == log.count("run, err") == runs
            assert log.count("y" * 100_000) == runs
            assert log.count('main__.py", line 8, in main\n') == runs
            assert log.count("    missing = params['né']  # here\n") == runs
            assert log.count("KeyError: 'né'") == runs


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_environment_is_that_of_the_activation(tmp_path: Path, launcher: str) -> None:
    body = "return {k: v for k, v in os.environ.items() if k.startswith('__OW_')}"
    with started(tmp_path / "a", launcher, module_of(body)) as action:
        first = action.send(b'{"value": {}, "activation_id": "a1", "deadline": "5", "odd": "x"}')
        second = action.send(b'{"activation_id": "a2", "deadline": "7", "action_name": "/_/n"}')
    kept = {"__OW_WAIT_FOR_ACK": "1", "__OW_ODD": "x"}
    assert first == {**kept, "__OW_ACTIVATION_ID": "a1", "__OW_DEADLINE": "5"}
    later = {"__OW_ACTIVATION_ID": "a2", "__OW_DEADLINE": "7", "__OW_ACTION_NAME": "/_/n"}
    assert second == {**kept, **later}


def run_to_the_end(folder: Path, lines: bytes, **variables: str) -> tuple[list[Any], bytes, int]:
    """Start `exec` with all input at once; return its results, its log and its exit status."""
    flags = EXEC.partition("\n")[0].split()[1:]
    command = ["sh", "-c", 'exec "$@" 3>&1 1>&2', "sh", interpreter(), *flags]
    done = subprocess.run(
        [*command, str(folder / "exec")], input=lines, capture_output=True, env=variables
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return answers, done.stderr, done.returncode


def test_end_of_input_ends_the_process(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "a", "ours", module_of("print('ran'); return params"))
    assert run_to_the_end(folder, b"") == ([], b"", 0)
    assert run_to_the_end(folder, b"", __OW_WAIT_FOR_ACK="1") == ([{"ok": True}], b"", 0)
    lines = b'{"value": 1}\n{"value": 2}\n{"value": 3}'  # many at once; the last is cut short
    assert run_to_the_end(folder, lines) == ([1, 2, 3], b"ran\n" * 3, 0)


def test_failed_import_ends_both_launchers(tmp_path: Path) -> None:
    for launcher in LAUNCHERS:
        with pytest.raises(SmokeError, match=r"(?s)exit status 1.*ZeroDivisionError"):
            started(tmp_path / launcher, launcher, "1 / 0")
