"""The sources themselves: linted, typed, in plain words, and each on its own side."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.base.paths import ACTION, ENVIRONMENTS, ROOT

# Identifiers that only this project's authors understood, by the files that had them.
HOUSE_NAMES = {
    "builder/model/*.py": {"Said", "NOTHING", "Found", "finer", "said", "sink"},
    "builder/*.py": {"Wishes", "wishes", "Said"},
    "builder/artifact/*.py": {"Target", "targets"},
    "builder/deploy/*.py": {"Target"},
    "action/classifier.py": {"output", "real", "_preparation"},
    "action/bootstrap.py": {"failing", "use"},
    "action/*.py": {"found", "about", "mine", "said"},
    "builder/base/environments.py": {"_FORM", "not_ready", "_bare", "_once", "_seconds"},
    "bench/**/*.py": {"pace", "priced", "left_out", "say"},
}

# Phrases that nobody would say to a colleague, with what to say in place of them.
HOUSE_PHRASES = {
    r"to be had": "available, could not be downloaded",
    r"\banew\b": "again",
    r"said aloud": "a warning is printed",
    r"\bmend(s|ed)?\b": "fix",
    r"in which letters": "text encoding",
    r"is no Python that runs": "is not a working Python",
    r"going on with .* instead": "using",
    r"what .{1,40} of what|what enters and what": "two sentences",
    r"[Hh]ave the .{1,60} made\b": "rebuild, make",
    r"^\s*(\"\"\")?(Of|Those of) [a-z ]+\.(\"\"\")?$": "a sentence with a verb",
    r"\bthrice\b": "three times",
    r"as you say\b": "as given with the option",
    r"[Dd]eployments that know": "name the platforms",
    r"\bwhosoever\b|\bwhence\b|\bhitherto\b": "plain English",
}


def project_files(*patterns: str) -> list[Path]:
    """Return the project's own files, tracked or new, that match git's patterns."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in paths if path.exists() and path != Path(__file__)]


def identifiers(path: Path) -> Iterator[str]:
    """Yield every name that a module defines, takes as an argument or refers to."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for field in ("id", "name", "attr", "arg"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


def test_ruff_is_silent() -> None:
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_is_silent() -> None:
    # One cache of the packages' types serves all checkouts.
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ENVIRONMENTS / "mypy")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("pattern", HOUSE_NAMES)
def test_identifiers_are_the_fields(pattern: str) -> None:
    paths = list(ROOT.glob(pattern))
    assert paths
    for path in paths:
        assert HOUSE_NAMES[pattern].isdisjoint(identifiers(path)), path


def test_messages_and_docs_are_plain_english() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()} -> {instead}"
        for path in project_files("*.py", "*.md", "*.toml", "*.html", ".ci/*")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for phrase, instead in HOUSE_PHRASES.items()
        if re.search(phrase, line)
    ]
    assert faults == []


def test_notes_of_constants_are_comments() -> None:
    """A string below an assignment is no comment: the note stands above the name."""
    for path in project_files("*.py"):
        body = ast.parse(path.read_text("utf-8")).body
        for before, node in itertools.pairwise(body):
            is_string = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_string and isinstance(before, ast.Assign | ast.AnnAssign):
                pytest.fail(f"{path.relative_to(ROOT)}:{node.lineno}: move the note above")


def test_functions_are_short() -> None:
    for path in project_files("action/*", "bench/*.py", "builder/*.py", "client/*", "tools/*.py"):
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node, clean=False) or ""
                lines = (node.end_lineno or 0) - node.lineno + 1 - len(text.splitlines())
                is_table = path.name == "options.py"
                assert lines <= 60 or is_table, f"{path}: {node.name} has {lines} lines"


def test_action_imports_only_what_ships() -> None:
    allowed = {*sys.stdlib_module_names, "action", "numpy", "PIL", "tflite_runtime"}
    allowed |= {"ai_edge_litert", "client"}  # client: only as `python3 -m action`
    for path in ACTION.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, path
