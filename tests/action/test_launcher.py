"""The launcher against the stock one: what a function returns, raises and prints.

A table has the result of each launcher per case. The stock launcher dies in some cases, and its
container with it; ours never does.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.artifact.actionloop import LAUNCHER, RunningAction
from builder.artifact.contents import EXEC
from builder.base.errors import SmokeError
from builder.base.paths import ACTION
from tests.conftest import EACH_PYTHON, HERE, interpreter

LAUNCHERS = ("stock", "ours")


@dataclass(frozen=True)
class Error:
    """A result that is only an error; `text` is in its text."""

    text: str


DIES = "the process ends, with this activation or before the next"
NOT_JSON = "the result is not JSON"


@dataclass(frozen=True)
class Case:
    """A function, the line that it gets, and the result of each launcher."""

    main: str
    stock: Any
    ours: Any
    line: bytes = b'{"value": {"name": "Ada"}}'


def returns(value: str) -> str:
    return f"    return {value}"


def same(main: str, answer: Any, line: bytes = Case.line) -> Case:
    return Case(main, answer, answer, line)


NEVER = returns("'never reached'")
DEPTH = 200_000
TOO_DEEP = Error("maximum recursion depth exceeded")

CASES = {
    "dict": same(returns("{'got': params}"), {"got": {"name": "Ada"}}),
    "list": same(returns("[1, 2.5, True, None]"), [1, 2.5, True, None]),
    "None": same(returns("None"), None),
    "str": same(returns("'text'"), "text"),
    "int": same(returns("7"), 7),
    "NaN": Case(returns("{'x': float('nan')}"), NOT_JSON, Error("not JSON compliant")),
    "Infinity": Case(returns("[float('inf')]"), NOT_JSON, Error("not JSON compliant")),
    "bytes": Case(returns("b'ab'"), DIES, Error("type bytes is not JSON serializable")),
    "set": Case(returns("{'x': {1}}"), DIES, Error("type set is not JSON serializable")),
    "tuple as a key": Case(returns("{(1, 2): 3}"), DIES, Error("keys must be str")),
    "circular": Case("    a = []; a.append(a); return a", DIES, Error("Circular reference")),
    "exception": same(
        "    raise ValueError('größer als ☃ \\u2028\\nzwei')",
        {"error": "größer als ☃ \u2028\nzwei"},
    ),
    "exception without a text": Case(
        "    raise ValueError", {"error": ""}, {"error": "ValueError"}
    ),
    "exception whose text raises": Case(
        "    class Bad(Exception):\n        def __str__(self): raise Bad\n    raise Bad",
        DIES,
        {"error": "Bad"},
    ),
    "exception with a surrogate": Case(
        "    raise ValueError('\\ud800')", DIES, {"error": "\ud800"}
    ),
    "exit": Case("    sys.exit()", DIES, Error("exit status None")),
    "exit with a status": Case("    sys.exit(3)", DIES, Error("exit status 3")),
    "exit with a text": Case("    sys.exit('done')", DIES, Error("exit status done")),
    "KeyboardInterrupt": Case("    raise KeyboardInterrupt", DIES, {"error": "KeyboardInterrupt"}),
    "GeneratorExit": Case("    raise GeneratorExit('x')", DIES, {"error": "x"}),
    "deep recursion": same("    return main(params)", TOO_DEEP),
    "deep result": Case(
        f"    a = []\n    for _ in range({DEPTH}): a = [a]\n    return a", DIES, TOO_DEEP
    ),
    "deep input": Case(NEVER, DIES, TOO_DEEP, b'{"value": ' + b"[" * DEPTH + b"]" * DEPTH + b"}"),
    "1 MB result": same(returns("{'x': 'é' * 500_000}"), {"x": "é" * 500_000}),
    "1 MB input": same(
        returns("[len(params), set(params) == {'é'}]"),
        [500_000, True],
        b'{"value": "' + "é".encode() * 500_000 + b'"}',
    ),
    "unicode result": same(returns("'é☃😀\\u2028\\u0085\\0'"), "é☃😀\u2028\u0085\0"),
    "surrogate in the result": Case(returns("'\\ud800'"), DIES, "\ud800"),
    "unicode input": same(
        returns("[ord(c) for c in params]"),
        [0xE9, 0x2028, 0x85, 0x1F600, 0xD800, 0],
        '{"value": "é\u2028\u0085😀\\ud800\\u0000"}'.encode(),
    ),
    "input that is not UTF-8": same(returns("len(params)"), 1, b'{"value": "\xff"}'),
    "not JSON": Case(NEVER, DIES, Error("Expecting value"), b"hello"),
    "an empty line": Case(NEVER, DIES, Error("Expecting value"), b""),
    "not an object": Case(NEVER, DIES, Error(""), b"[1, 2]"),
    "no value": same(returns("params"), {}, b'{"activation_id": "1"}'),
    "null as the value": same(returns("[params]"), [None], b'{"value": null}'),
    "a number as a variable": Case(
        returns("os.environ['__OW_DEADLINE']"), DIES, "5", b'{"value": {}, "deadline": 5}'
    ),
    "a variable that cannot be set": Case(NEVER, DIES, Error("null byte"), b'{"x": "\\u0000"}'),
    "standard output closed": Case("    sys.stdout.close(); return 1", DIES, 1),
    "standard error closed": Case(
        "    sys.stderr.close(); raise ValueError('x')", DIES, Error("ValueError")
    ),
    "no standard error": same("    sys.stderr = None; raise ValueError('x')", {"error": "x"}),
}


@contextmanager
def started(
    folder: Path, launcher: str, module: str, python: str = HERE
) -> Iterator[RunningAction]:
    """Start a module with a `main` by one of the launchers."""
    action = RunningAction(
        unpacked(folder, launcher, module), interpreter(python), {}, isolated=True
    )
    try:
        yield action
    finally:
        action.close()


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


def module_of(main: str) -> str:
    return f"import os, sys\n\ndef main(params):\n{main}\n"


def outcome(action: RunningAction, line: bytes) -> Any:
    """Send a line twice and return the result, which must be the same."""
    try:
        first, second = action.send(line), action.send(line)
    except SmokeError as error:
        assert "died" in str(error)
        return DIES
    try:
        json.dumps(first, allow_nan=False)
    except ValueError:
        return NOT_JSON
    assert second == first
    return first


@pytest.mark.parametrize("python", EACH_PYTHON)
@pytest.mark.parametrize("name", CASES)
def test_each_case_has_its_result(tmp_path: Path, name: str, python: str) -> None:
    case = CASES[name]
    for launcher in LAUNCHERS:
        expected = getattr(case, launcher)
        with started(tmp_path / launcher, launcher, module_of(case.main), python) as action:
            result = outcome(action, case.line)
            log = action.log()
        if isinstance(expected, Error):
            assert list(result) == ["error"], (launcher, log)
            assert expected.text in result["error"]
        else:
            assert result == expected, (launcher, log)


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("python", EACH_PYTHON)
def test_log_is_complete_before_the_result(tmp_path: Path, launcher: str, python: str) -> None:
    module = (
        "import sys\nprint('import, out é')\nprint('import, err', file=sys.stderr)\n"
        "def main(params):\n    print('run, out ☃', end='')\n"
        "    print('run, err', end='', file=sys.stderr)\n    print('y' * 100_000, end='')\n"
        "    return 1\n"
    )
    with started(tmp_path / "a", launcher, module, python) as action:
        for runs in (1, 2, 3):
            assert action.run({}) == 1
            log = action.log()
            assert log.count("import, out é") == log.count("import, err") == 1
            assert log.count("run, out ☃") == log.count("run, err") == runs
            assert log.count("y") == 100_000 * runs


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_traceback_is_in_the_log(tmp_path: Path, launcher: str) -> None:
    main = "    missing = params['né']  # here"
    with started(tmp_path / "a", launcher, module_of(main)) as action:
        assert action.run({}) == {"error": "'né'"}
        log = action.log()
    assert 'main__.py", line 4, in main\n' in log
    assert "    missing = params['né']  # here\n" in log
    assert "KeyError: 'né'" in log


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_environment_is_that_of_the_activation(tmp_path: Path, launcher: str) -> None:
    main = returns("{k: v for k, v in os.environ.items() if k.startswith('__OW_')}")
    with started(tmp_path / "a", launcher, module_of(main)) as action:
        first = action.send(b'{"value": {}, "activation_id": "a1", "deadline": "5", "odd": "x"}')
        second = action.send(b'{"activation_id": "a2", "deadline": "7", "action_name": "/_/n"}')
    kept = {"__OW_WAIT_FOR_ACK": "1", "__OW_ODD": "x"}
    assert first == {**kept, "__OW_ACTIVATION_ID": "a1", "__OW_DEADLINE": "5"}
    assert second == {
        **kept,
        "__OW_ACTIVATION_ID": "a2",
        "__OW_DEADLINE": "7",
        "__OW_ACTION_NAME": "/_/n",
    }


def test_10_000_activations_keep_order_and_memory(tmp_path: Path) -> None:
    module = (
        "count = 0\ndef main(params):\n    global count\n    count += 1\n"
        "    if not params['n'] % 3: raise ValueError(count)\n"
        "    return [params['n'], count]\n"
    )
    memory = []
    with started(tmp_path / "a", "ours", module) as action:
        statm = Path(f"/proc/{action.pid}/statm")
        for number in range(1, 10_001):
            result = action.send(b'{"value": {"n": %d}, "activation_id": "%d"}' % (number, number))
            assert result == ([number, number] if number % 3 else {"error": str(number)})
            if number in (1000, 10_000):
                memory.append(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert memory[1] - memory[0] < 1_000_000


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
    folder = unpacked(tmp_path / "a", "ours", module_of("    print('ran'); return params"))
    assert run_to_the_end(folder, b"") == ([], b"", 0)
    assert run_to_the_end(folder, b"", __OW_WAIT_FOR_ACK="1") == ([{"ok": True}], b"", 0)
    lines = b'{"value": 1}\n{"value": 2}\n{"value": 3}'  # many at once; the last is cut short
    assert run_to_the_end(folder, lines) == ([1, 2, 3], b"ran\n" * 3, 0)


def test_failed_import_ends_both_launchers(tmp_path: Path) -> None:
    for launcher in LAUNCHERS:
        folder = tmp_path / launcher
        with pytest.raises(SmokeError, match=r"(?s)exit status 1.*ZeroDivisionError"):
            with started(folder, launcher, "1 / 0"):
                pass
