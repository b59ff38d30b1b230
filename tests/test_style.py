"""The sources themselves: linted, typed, and what ships stays small to read."""

import ast
import subprocess
import sys

from builder.base.paths import ACTION, ENVIRONMENTS, ROOT


def test_ruff() -> None:
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_mypy() -> None:
    # What it knows of the packages serves all checkouts.
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ENVIRONMENTS / "mypy")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_ships_imports_only_what_ships() -> None:
    allowed = {*sys.stdlib_module_names, "action", "numpy", "PIL", "tflite_runtime"}
    allowed |= {"ai_edge_litert", "client"}  # client: only as `python -m action`
    for path in ACTION.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = {node.module or ""}
            else:
                continue
            assert {name.partition(".")[0] for name in names} <= allowed, path


def test_the_two_sides_do_not_know_each_other() -> None:
    """`action/` imports nothing of `builder/`; the builder takes only the version from it."""
    for path in (ROOT / "builder").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("action"):
                assert [alias.name for alias in node.names] == ["__version__"], path


def test_what_ships_is_small_to_read() -> None:
    """A newcomer reads all of it. If this fails, look for what can go before you raise it."""
    lines = {path.name: len(path.read_text().splitlines()) for path in ACTION.glob("*.py")}
    assert sum(lines.values()) <= 1500
    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_names_say_what_things_are() -> None:
    vague = {"found", "about", "mine", "said"}
    for path in ACTION.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (getattr(node, field, None) for field in ("id", "name", "attr", "arg"))
            assert vague.isdisjoint(name for name in names if isinstance(name, str)), path
