"""The audit: a good zip passes, and each fault is found and named."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.artifact import modules, platform
from builder.artifact.audit import audit_zip
from builder.artifact.libraries import check_libraries
from builder.base.archive import read_zip
from builder.base.paths import ROOT
from tests.conftest import EACH_PYTHON, HERE, IMAGE, PYTHONS, interpreter
from tests.support.zips import Files, with_manifest, without_libraries, write

LIB = modules.library_folder(HERE)
INDEX = LIB + modules.INDEX
STREAM = f"{LIB}numpy.code"


@pytest.fixture(scope="module")
def good(zip_path: Path) -> Files:
    """Return the files of a zip that passes, without its libraries."""
    return without_libraries(read_zip(zip_path).files)


@pytest.fixture(scope="module")
def precompiled(precompiled_path: Path) -> Files:
    """Return the files of a precompiled zip that passes, without its libraries."""
    return without_libraries(read_zip(precompiled_path).files)


@pytest.fixture(scope="module")
def wheel_library(wheels_path: Path) -> tuple[str, bytes]:
    """Return a library of Pillow's wheel, which needs another one."""
    files = read_zip(wheels_path).files
    return next(
        (name, content)
        for name, content in files.items()
        if name.startswith(f"{LIB}PIL/_webp") and ".so" in name
    )


def magic(python: str) -> int:
    number: int = platform.table()["kinds"][f"python:{python}"]["magic"]
    return number


def audited(files: Files, tmp_path: Path) -> str:
    """Return all problems of a zip with these files, a line each."""
    return "\n".join(audit_zip(write(files, tmp_path / "a.zip")).problems)


def with_file(files: Files, name: str, content: bytes | None) -> Files:
    """Return files of which one has another content, or is left out."""
    others = {each: files[each] for each in files if each != name}
    return with_manifest(others if content is None else {**others, name: content})


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_zip_of_wheels_passes(
    make_zip: Callable[..., Path], imagenet_model: str, python: str
) -> None:
    audit = audit_zip(make_zip(python, imagenet_model, provider="wheels"))
    assert audit.problems == []
    assert audit.manifest.pythons == (python,)
    assert audit.bytes == sum(component.packed for component in audit.components)
    names = {component.name for component in audit.components}
    assert names >= {"action", "numpy", "pillow", "ai-edge-litert"}


def test_zip_without_libraries_passes(good: Files, tmp_path: Path) -> None:
    assert audited(good, tmp_path) == ""


@pytest.mark.parametrize("python", PYTHONS)
def test_magic_numbers_are_those_of_the_interpreters(python: str) -> None:
    code = "import importlib.util; print(importlib.util.MAGIC_NUMBER[:2].hex())"
    done = subprocess.run([interpreter(python), "-c", code], capture_output=True, text=True)
    assert int.from_bytes(bytes.fromhex(done.stdout.strip()), "little") == magic(python)


@pytest.mark.parametrize("mode", [0o120777, 0o100600])
def test_links_and_odd_modes_are_found(good: Files, tmp_path: Path, mode: int) -> None:
    audit = audit_zip(write(good, tmp_path / "a.zip", mode))
    assert f"entries: __main__.py: expected mode 100644, found {mode:o}" in audit.problems


def test_files_are_held_against_the_manifest(good: Files, tmp_path: Path) -> None:
    changed = {**good, "model/model.json": good["model/model.json"] + b" "}
    assert "model/model.json: not the file that the manifest lists" in audited(changed, tmp_path)
    more = {**good, "more.py": b""}
    assert "manifest: more.py: not in the manifest" in audited(more, tmp_path)
    less = {name: content for name, content in good.items() if name != "LICENSES.txt"}
    assert "manifest: LICENSES.txt: in the manifest, not in the zip" in audited(less, tmp_path)


def test_code_of_other_pythons_is_found(good: Files, tmp_path: Path) -> None:
    name = next(name for name in good if name.startswith("action/") and name.endswith(".pyc"))
    other = next(magic(python) for python in PYTHONS if python != HERE)
    not_ours = f"not the code of Python {HERE} (magic {other})"
    foreign = struct.pack("<H", other) + good[name][2:]
    changed = with_manifest({**good, name: foreign})
    assert f"code files: {name}: {not_ours}" in audited(changed, tmp_path)
    index = {**json.loads(good[INDEX]), "magic": struct.pack("<H", other).hex() + "0d0a"}
    changed = with_manifest({**good, INDEX: json.dumps(index).encode()})
    assert f"code files: {LIB}: {not_ours}" in audited(changed, tmp_path)


def test_code_with_a_date_is_found(good: Files, tmp_path: Path) -> None:
    name = next(name for name in good if name.startswith("action/") and name.endswith(".pyc"))
    dated = good[name][:4] + bytes(12) + good[name][16:]
    changed = with_manifest({**good, name: dated})
    assert f"{name}: would be stale after unzipping" in audited(changed, tmp_path)


@pytest.mark.parametrize("length", [0, 4, 100])
@pytest.mark.parametrize(("name", "problem"), [(INDEX, "cannot be read"), (STREAM, "is truncated")])
def test_truncated_code_is_found(
    good: Files, tmp_path: Path, name: str, problem: str, length: int
) -> None:
    changed = with_manifest({**good, name: good[name][:length]})
    assert f"code files: {name} {problem}" in audited(changed, tmp_path)


def test_libraries_that_the_runtime_cannot_load_are_found(
    good: Files, wheel_library: tuple[str, bytes], tmp_path: Path
) -> None:
    name, content = wheel_library
    renamed = name.replace(f"cpython-{HERE.replace('.', '')}", "cpython-39")
    arm = content[:18] + struct.pack("<H", 183) + content[20:]
    for path, changed, problem in (
        (name, content, "needs libwebp-"),
        (renamed, content, "built for cpython-39"),
        (name, arm, "expected x86_64, found EM_AARCH64"),
        (name, content[:1000], "not an ELF library"),
    ):
        assert problem in audited(with_manifest({**good, path: changed}), tmp_path)


def test_symbols_newer_than_the_platform_are_found(
    wheels_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(platform.table()["kinds"][f"python:{HERE}"]["symbols"], "GLIBC", "2.2")
    assert any("has GLIBC_2.2" in problem for problem in audit_zip(wheels_path).problems)


def test_compiled_libraries_are_held_to_more(
    good: Files, wheel_library: tuple[str, bytes], tmp_path: Path
) -> None:
    name, content = wheel_library
    problems = audited(with_manifest({**good, name: content}, compiled=True), tmp_path)
    assert "needs libpthread.so.0: expected no more than" in problems
    assert "exports ImagingSectionEnter: expected only PyInit_*" in problems


C_SOURCE = """
#include <assert.h>
int PyInit_it(int n) { assert(n); return n; }
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc on this machine")
@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("-Wl,-rpath,/opt/lib", "looks for libraries in /opt/lib: expected no RPATH"),
        ("-Wl,-z,execstack", "asks for an executable stack"),
        ("-Wl,-z,norelro", "its relocated data stays writable: expected RELRO"),
        ("-Dother=1", "contains the path /"),
        ("-ffile-prefix-map={folder}=.", ""),
    ],
)
def test_faults_of_compiling_are_found(tmp_path: Path, flag: str, problem: str) -> None:
    source, target = tmp_path / "it.c", tmp_path / "it.so"
    source.write_text(C_SOURCE)
    command = ["gcc", "-shared", "-fPIC", "-Wl,-z,relro", flag.format(folder=tmp_path)]
    subprocess.run([*command, str(source), "-o", str(target)], check=True, cwd=tmp_path)
    path = f"{LIB}it.so"
    problems, _ = check_libraries({path: target.read_bytes()}, HERE, compiled={path})
    if problem:
        assert any(each.startswith(f"{path}: {problem}") for each in problems), problems
    else:
        assert problems == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("__main__.py", b"def main(params:", "__main__.py does not parse"),
        ("__main__.py", b"def run(params): ...", "__main__.py defines no main(params)"),
        ("lib/2.7/a.code", b"", "lib/2.7/a.code: no index names it"),
        (STREAM, None, f"code files: {INDEX} names {STREAM}, which is missing"),
    ],
)
def test_faults_of_a_zip_are_found(
    good: Files, tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    assert problem in audited(with_file(good, name, content), tmp_path)


def test_precompiled_zip_passes(precompiled: Files, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    audit = audit_zip(write(precompiled, path, executable=0o100755))
    assert audit.problems == []
    assert audit.manifest.execution_env == IMAGE
    assert audit_zip(write(precompiled, path)).problems == [
        "entries: exec: expected mode 100755, found 100644"
    ]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("exec", b"import sys", "exec: expected a script that begins with #!"),
        ("exec", None, "exec: expected a script that begins with #!"),
        ("exec.env", None, "exec.env: expected the image's OW_EXECUTION_ENV, found ''"),
        ("exec.env", b"other", "exec.env: expected the image's OW_EXECUTION_ENV, found 'other'"),
        ("action/launcher.py", None, "exec: expected its launcher, action/launcher.py, found none"),
        ("main__.py", None, "expected main__.py at the root, found none"),
    ],
)
def test_faults_of_a_precompiled_zip_are_found(
    precompiled: Files, tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    changed = with_file(precompiled, name, content)
    assert f"entry point: {problem}" in audited(changed, tmp_path)


def test_missing_model_is_found(good: Files, tmp_path: Path) -> None:
    less = {name: content for name, content in good.items() if not name.endswith(".tflite")}
    assert "and the model it names" in audited(with_manifest(less), tmp_path)


def test_zip_over_the_limit_is_found(good: Files, tmp_path: Path) -> None:
    large = with_manifest({**good, "large": os.urandom(platform.zip_limit())})
    assert "size: expected at most 37748736 bytes" in audited(large, tmp_path)


@pytest.mark.parametrize("option", ["", "--quiet", "--json"])
def test_failed_check_exits_with_1_and_names_the_fault(
    good: Files, tmp_path: Path, option: str
) -> None:
    bad = write(with_manifest({**good, "requirements.txt": b""}), tmp_path / "bad.zip")
    command = [sys.executable, "build_zip.py", "check", str(bad), *option.split()]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "requirements.txt: no file of this function" in failed.stderr + failed.stdout
