"""The providers of --runtime: compilers, container engines, and wheels if there is neither."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from builder.base import cpython
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.packages import DEFAULT_OPTIONS, RuntimeOptions, compiled, providers


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "COMPILED", tmp_path / "runtimes")
    monkeypatch.setattr(compiled, "BUILD", tmp_path)


def write_engine(folder: Path, script: str, name: str = "docker") -> str:
    """Write an executable that stands in for a container engine; return its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_local_names_what_the_machine_lacks(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpython, "find_python", lambda version: None)
    with pytest.raises(BuildError, match=r"expected Python 3\.11 on this machine") as caught:
        compiled.local("3.11", DEFAULT_OPTIONS, console)
    assert "python3.11-dev" in caught.value.hint
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(BuildError, match="expected a Debian-like Linux on x86_64"):
        compiled.local("3.11", DEFAULT_OPTIONS, console)


def test_the_first_engine_that_answers_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_engine(tmp_path, "exit 1", "docker")
    write_engine(tmp_path, "exit 0", "buildah")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiled.find_engine() == "buildah"


def test_without_an_engine_container_is_refused_and_auto_uses_wheels(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "find_engine", lambda: "")
    with pytest.raises(
        BuildError, match="no container engine answers: expected one of docker, podman, buildah"
    ):
        compiled.container("3.11", DEFAULT_OPTIONS, console)
    runtime = providers.auto("3.11", DEFAULT_OPTIONS, console)
    assert {each.name for each in runtime.components} == {"ai-edge-litert", "numpy", "pillow"}
    assert any("no container engine answers" in note for note in console.notes)
    assert any("built from ready-made wheels" in text for text in console.reminders)


def test_a_failed_container_build_quotes_the_log_and_caches_nothing(
    console: Console, tmp_path: Path
) -> None:
    script = 'for word; do echo "$word"; done; seq 1 100; echo "no such base image" >&2; exit 3'
    engine = write_engine(tmp_path, script)
    options = RuntimeOptions("all", None, engine, ("--no-cache", "--network=none"))
    with pytest.raises(BuildError) as caught:
        compiled.container("3.12", options, console)
    lines = str(caught.value).splitlines()
    assert lines[-1] == "no such base image"
    assert lines[1:3] == ["72", "73"]
    words = Path(caught.value.hint.rpartition(" ")[2]).read_text().splitlines()
    assert {"--no-cache", "--network=none", "PYTHON=3.12", "OPS=all"} <= set(words)
    assert any(word.startswith("type=local,dest=") for word in words)
    assert words[words.index("--platform") + 1] == "linux/amd64"
    assert not list((tmp_path / "runtimes").rglob("*.json"))


def test_podman_without_registries_gets_a_hint(console: Console, tmp_path: Path) -> None:
    script = 'echo "Error: short-name \\"python:3.11-bookworm\\" did not resolve" >&2; exit 125'
    options = RuntimeOptions(engine=write_engine(tmp_path, script, "podman"))
    with pytest.raises(BuildError) as caught:
        compiled.container("3.11", options, console)
    assert "unqualified-search-registries" in caught.value.hint
