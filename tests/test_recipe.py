"""The recipe's own code: sources are proved, looked for everywhere, and asked for by name."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from builder import data
from builder.runtime.compiled import DOCKERFILE, NATIVE, recipe_key
from builder.tflite import OPERATORS

FETCH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import sources, steps
sources.pins = lambda: {"it": {"file": "it.tar.gz", "sha256": sys.argv[4], "sha1": "0" * 40}}
builder = steps.Builder(Path(sys.argv[2]), 1)
try:
    print(sources.Sources(builder, [Path(sys.argv[3])]).fetch("it"))
except steps.RecipeError as error:
    sys.exit(str(error))
"""


def fetch(folder: Path, given: Path, sha256: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", FETCH, str(NATIVE), str(folder), str(given), sha256]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_given_source_is_found_by_its_hash(tmp_path: Path) -> None:
    given = tmp_path / "given" / "deep"
    given.mkdir(parents=True)
    (given / "another name.bin").write_bytes(b"the source")
    (given / "it.tar.gz").write_bytes(b"not the source")
    digest = hashlib.sha256(b"the source").hexdigest()
    done = fetch(tmp_path / "build", tmp_path / "given", digest)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == b"the source"


def test_a_source_that_is_nowhere(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    digest = "f" * 64
    done = fetch(tmp_path / "build", tmp_path / "given", digest)
    assert done.returncode == 1
    assert f"it.tar.gz is nowhere to be found (sha256 {digest})" in done.stderr
    assert "no file there has this sha256" in done.stderr
    assert "Debian's snapshot service" in done.stderr
    assert "--sources DIR" in done.stderr
    assert not list((tmp_path / "build").rglob("*.part"))


def test_every_source_is_pinned() -> None:
    sources = data.read(NATIVE / "sources.toml")
    assert {"tensorflow", "xnnpack", "numpy", "pillow", "libjpeg-turbo"} <= set(sources)
    for name, pin in sources.items():
        assert len(pin["sha256"]) == 64, name
        assert pin["licence"]
        assert pin["package"] in ("tflite_runtime", "numpy", "PIL")
        assert ("debian" in pin) != ("index" in pin)


def test_every_patch_belongs_to_a_source_and_stays_in_it() -> None:
    for patch in (NATIVE / "patches").iterdir():
        assert patch.suffix == ".patch"
        assert patch.stem in data.read(NATIVE / "sources.toml")
        for line in patch.read_text("utf-8").splitlines():
            if line.startswith(("--- ", "+++ ")):
                assert line[4:].startswith(("a/", "b/", "/dev/null")), f"{patch.name}: {line}"


def test_the_operators_are_tflites() -> None:
    sys.path.insert(0, str(NATIVE))
    try:
        packages = importlib.import_module("packages")
    finally:
        sys.path.remove(str(NATIVE))
    names = packages.operators()
    assert set(names) <= set(OPERATORS.values())
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX", "HARD_SWISH", "CONCATENATION"} <= set(names)


def test_the_key_covers_the_whole_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from builder.runtime import compiled

    before = recipe_key()
    copy = tmp_path / "Dockerfile.builder"
    copy.write_bytes(DOCKERFILE.read_bytes() + b"\n")
    monkeypatch.setattr(compiled, "DOCKERFILE", copy)
    assert recipe_key() != before


def test_dockerfile_is_clean() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), str(DOCKERFILE)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
