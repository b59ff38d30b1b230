"""`--check`: a good zip passes, and each way of being bad is found and named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
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
from builder.artifact.manifest import MANIFEST, Manifest
from builder.base.archive import read_zip
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from tests.conftest import EACH_PYTHON, HERE, IMAGE, PYTHONS, interpreter
from tests.support.zips import Files, write

LIB = modules.library_folder(HERE)
INDEX = LIB + modules.INDEX


@pytest.fixture(scope="module")
def files(zip_path: Path) -> Files:
    """The good zip's files, those in `packed.zip` among them."""
    return read_zip(zip_path).files


def small(files: Files) -> Files:
    """A copy without the large libraries, its manifest told so: quick to write."""
    kept = {n: c for n, c in files.items() if not modules.is_library(n)}
    index = json.loads(kept[INDEX])
    index["libraries"] = {}
    index["ahead"] = [name for name in index["ahead"] if name in kept]
    return listed({**kept, INDEX: json.dumps(index).encode()})


def listed(files: Files, compiled: bool = False) -> Files:
    """The same with a manifest that lists all of it."""
    manifest = Manifest.from_json(files[MANIFEST])
    rest = {name: content for name, content in files.items() if name != MANIFEST}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in rest.items()}
    function, *others = (dataclasses.replace(each, files={}) for each in manifest.components)
    components = (dataclasses.replace(function, files=hashes, compiled=compiled), *others)
    return {**rest, MANIFEST: dataclasses.replace(manifest, components=components).to_json()}


def magic(python: str) -> int:
    number: int = platform.table()["kinds"][f"python:{python}"]["magic"]
    return number


def found(files: Files, tmp_path: Path) -> list[str]:
    return audit_zip(write(files, tmp_path / "a.zip")).problems


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_what_we_build_passes(
    make_zip: Callable[..., Path], imagenet_model: str, python: str
) -> None:
    report = audit_zip(make_zip(python, imagenet_model, provider="wheels"))
    assert report.problems == []
    assert report.manifest.pythons == (python,)
    assert report.bytes == sum(part.packed for part in report.components)
    assert {part.name for part in report.components} >= {
        "action",
        "numpy",
        "pillow",
        "ai-edge-litert",
    }


def test_the_small_copy_passes(files: Files, tmp_path: Path) -> None:
    assert found(small(files), tmp_path) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_magic_numbers_are_those_of_the_interpreters(python: str) -> None:
    code = "import importlib.util; print(importlib.util.MAGIC_NUMBER[:2].hex())"
    done = subprocess.run([interpreter(python), "-c", code], capture_output=True, text=True)
    assert int.from_bytes(bytes.fromhex(done.stdout.strip()), "little") == magic(python)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("requirements.txt", "requirements.txt: no file of this function"),
        ("virtualenv/pyvenv.cfg", "virtualenv/pyvenv.cfg: no file of this function"),
        ("exec", "exec: no file of this function"),
        ("../escape.py", "../escape.py: no file of this function"),
        ("/etc/passwd", "/etc/passwd: no file of this function"),
    ],
)
def test_forbidden_names(files: Files, tmp_path: Path, name: str, said: str) -> None:
    assert any(said in problem for problem in found(listed({**small(files), name: b""}), tmp_path))


def test_link_and_odd_mode(files: Files, tmp_path: Path) -> None:
    for mode, said in (
        (0o120777, "mode 100644, found 120777"),
        (0o100600, "mode 100644, found 100600"),
    ):
        path = write(small(files), tmp_path / "a.zip", mode)
        assert any(said in problem for problem in audit_zip(path).problems)


def test_manifest(files: Files, tmp_path: Path) -> None:
    changed = {**small(files), "model/model.json": b"{}"}
    assert any("not the file that the manifest lists" in p for p in found(changed, tmp_path))
    more = {**small(files), "more.py": b""}
    assert "manifest: more.py: not in the manifest" in found(more, tmp_path)
    less = {n: c for n, c in small(files).items() if n != "LICENSES.txt"}
    assert "manifest: LICENSES.txt: in the manifest, not in the zip" in found(less, tmp_path)


def test_stale_and_foreign_code_files(files: Files, tmp_path: Path) -> None:
    name = next(n for n in files if n.startswith("action/") and n.endswith(".pyc"))
    dated = files[name][:4] + bytes(12) + files[name][16:]
    changed = listed({**small(files), name: dated})
    assert any(f"{name}: would be stale after unzipping" in p for p in found(changed, tmp_path))
    other = next(magic(python) for python in PYTHONS if python != HERE)
    foreign = struct.pack("<H", other) + files[name][2:]
    said = f"code files: {name}: not the code of Python {HERE} (magic {other})"
    assert said in found(listed({**small(files), name: foreign}), tmp_path)
    index = {**json.loads(small(files)[INDEX]), "magic": struct.pack("<H", other).hex() + "0d0a"}
    said = f"code files: {LIB}: not the code of Python {HERE} (magic {other})"
    changed = listed({**small(files), INDEX: json.dumps(index).encode()})
    assert said in found(changed, tmp_path)
    elsewhere = listed({**small(files), "lib/2.7/a.code": b""})
    assert any("a.code: no index names it" in p for p in found(elsewhere, tmp_path))


@pytest.mark.parametrize("length", [0, 4, 100])
def test_index_and_code_that_are_cut_short(files: Files, tmp_path: Path, length: int) -> None:
    good = small(files)
    for name, said in ((INDEX, f"{INDEX} cannot be read"), (f"{LIB}numpy.code", "is truncated")):
        changed = listed({**good, name: good[name][:length]})
        assert any(
            problem.startswith("code files: ") and said in problem
            for problem in found(changed, tmp_path)
        )
    less = listed({name: content for name, content in good.items() if name != f"{LIB}numpy.code"})
    said = f"code files: {INDEX} names {LIB}numpy.code, which is missing"
    assert said in found(less, tmp_path)


@pytest.fixture(scope="module")
def wheels(wheels_path: Path) -> Files:
    return read_zip(wheels_path).files


def test_native_parts(wheels: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = wheels
    library, content = next(
        (n, c) for n, c in files.items() if n.startswith(f"{LIB}PIL/_webp") and ".so" in n
    )
    alone = listed({**small(files), library: content})
    assert any("needs libwebp-" in problem for problem in found(alone, tmp_path))
    renamed = library.replace(f"cpython-{HERE.replace('.', '')}", "cpython-39")
    wrong = listed({**small(files), renamed: content})
    assert any("built for cpython-39" in problem for problem in found(wrong, tmp_path))
    arm = content[:18] + struct.pack("<H", 183) + content[20:]
    changed = listed({**small(files), library: arm})
    assert any("expected x86_64, found EM_AARCH64" in p for p in found(changed, tmp_path))
    cut = listed({**small(files), library: content[:1000]})
    assert any("not an ELF library" in problem for problem in found(cut, tmp_path))
    monkeypatch.setitem(platform.table()["kinds"][f"python:{HERE}"]["symbols"], "GLIBC", "2.2")
    whole = listed(files)
    assert any("has GLIBC_2.2" in problem for problem in found(whole, tmp_path))


def test_gates_for_what_is_compiled_here(wheels: Files, tmp_path: Path) -> None:
    """A wheel's library, passed off as compiled here: each gate names what it finds."""
    files = wheels
    library, content = next(
        (n, c) for n, c in files.items() if n.startswith(f"{LIB}PIL/_webp") and ".so" in n
    )
    changed = listed({**small(files), library: content}, compiled=True)
    said = found(changed, tmp_path)
    assert any("needs libpthread.so.0: expected no more than" in problem for problem in said)
    assert any("exports ImagingSectionEnter: expected only PyInit_*" in problem for problem in said)


C_SOURCE = """
#include <assert.h>
int PyInit_it(int n) { assert(n); return n; }
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc on this machine")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-Wl,-rpath,/opt/lib"], "looks for libraries in /opt/lib: expected no RPATH"),
        (["-Wl,-z,execstack"], "asks for an executable stack"),
        (["-Wl,-z,norelro"], "its relocated data stays writable: expected RELRO"),
        (["-Dother=1"], "contains the path /"),
        (["-ffile-prefix-map={folder}=."], ""),
    ],
)
def test_how_a_library_was_built(tmp_path: Path, flags: list[str], said: str) -> None:
    source = tmp_path / "it.c"
    source.write_text(C_SOURCE)
    target = tmp_path / "it.so"
    flags = [flag.format(folder=tmp_path) for flag in flags]
    command = ["gcc", "-shared", "-fPIC", "-Wl,-z,relro", *flags, str(source), "-o", str(target)]
    subprocess.run(command, check=True, cwd=tmp_path)
    path = f"{LIB}it.so"
    problems_found, _ = check_libraries({path: target.read_bytes()}, HERE, compiled={path})
    if said:
        assert any(each.startswith(f"{path}: {said}") for each in problems_found), problems_found
    else:
        assert problems_found == []


def test_entry_point(files: Files, tmp_path: Path) -> None:
    for content, said in (
        (b"def main(params:", "does not parse"),
        (b"def run(params): ...", "defines no main(params)"),
    ):
        changed = listed({**small(files), "__main__.py": content})
        assert any(said in problem for problem in found(changed, tmp_path))


@pytest.fixture(scope="module")
def precompiled(precompiled_path: Path) -> Files:
    """A small copy of a precompiled zip, of which the audit finds nothing wrong."""
    return small(read_zip(precompiled_path).files)


def test_what_a_precompiled_zip_needs(precompiled: Files, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    good = audit_zip(write(precompiled, path, executable=0o100755))
    assert good.problems == []
    assert good.manifest.execution_env == IMAGE
    assert audit_zip(write(precompiled, path)).problems == [
        "entries: exec: expected mode 100755, found 100644",
    ]
    for changes, said in (
        ({"exec": b"import sys"}, "exec: expected a script that begins with #!"),
        ({"exec": None}, "exec: expected a script that begins with #!"),
        ({"exec.env": None}, "exec.env: expected the image's OW_EXECUTION_ENV, found ''"),
        ({"exec.env": b"other"}, "exec.env: expected the image's OW_EXECUTION_ENV, found 'other'"),
        ({"action/launcher.py": None}, "exec: expected its launcher, action/launcher.py, found"),
        ({"main__.py": None}, "expected main__.py at the root, found none"),
        ({"main__.py": b"def run(): ..."}, "main__.py defines no main(params)"),
    ):
        merged: dict[str, bytes | None] = {**precompiled, **changes}
        changed = listed({n: c for n, c in merged.items() if c is not None})
        said_all = audit_zip(write(changed, path, executable=0o100755)).problems
        assert any(each.startswith(f"entry point: {said}") for each in said_all), said_all


def test_model(files: Files, tmp_path: Path) -> None:
    less = {n: c for n, c in small(files).items() if not n.endswith(".tflite")}
    assert any("and the model it names" in problem for problem in found(listed(less), tmp_path))


def test_too_large(files: Files, tmp_path: Path) -> None:
    import os

    large = listed({**small(files), "large": os.urandom(platform.zip_limit())})
    assert any("expected at most 37748736 bytes" in problem for problem in found(large, tmp_path))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_truncated_zip(zip_path: Path, tmp_path: Path, share: float) -> None:
    content = zip_path.read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BuildError, match=r"cut\.zip is not a complete zip of build_zip\.py"):
        audit_zip(cut)


def test_flipped_byte(zip_path: Path, tmp_path: Path) -> None:
    content = bytearray(zip_path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    flipped = tmp_path / "flipped.zip"
    flipped.write_bytes(content)
    with pytest.raises(BuildError, match="not a complete zip"):
        audit_zip(flipped)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "build_zip.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_check_on_the_command_line(zip_path: Path, files: Files, tmp_path: Path) -> None:
    good = run("check", str(zip_path))
    assert good.returncode == 0, good.stderr
    assert "36 MiB" in good.stderr
    assert "newest symbols needed" in good.stderr
    assert f"✓ invoke with Python {HERE}" in good.stderr
    assert re.search(r"\d+ of \d+ nodes run on XNNPACK", good.stderr)
    as_json = run("check", str(zip_path), "--json", "--quiet")
    report = json.loads(as_json.stdout)
    assert report["ok"]
    nodes = report["smoke"][HERE]["nodes"]
    assert nodes["total"] == nodes["delegated"] + len(nodes["others"]) > 20
    quick = run("check", str(zip_path), "--no-smoke", "--json", "--quiet")
    assert json.loads(quick.stdout)["smoke"] == {}
    assert report["sha256"] == hashlib.sha256(zip_path.read_bytes()).hexdigest()
    bad = write(listed({**small(files), "requirements.txt": b""}), tmp_path / "bad.zip")
    for options in ((), ("--quiet",), ("--json",)):
        failed = run("check", str(bad), *options)
        assert failed.returncode == 1
        assert "no file of this function" in failed.stderr + failed.stdout
    missing = run("check", str(tmp_path / "none.zip"))
    assert missing.returncode == 2
    assert "check: expected a zip, found nothing at" in " ".join(missing.stderr.split())
