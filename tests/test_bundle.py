"""The zip as a file: deterministic, small enough, complete, and never half-written."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

from builder import build, bundle, data, files, interpreters
from builder.audit import archived
from builder.bundle import DATE, MODULES, Entry
from builder.console import Console
from builder.errors import BuildError
from builder.paths import ACTION, ROOT
from builder.runtime import package_tag
from builder.runtime.prune import PRUNE, apply
from tests.conftest import HERE, IMAGE, PYTHONS
from tests.models import Colours

CACHED = package_tag(HERE).replace("cp", "cpython-")
ENTRIES = [
    Entry("__main__.py", b"def main(params): return params\n", "action"),
    Entry("empty", b"", "action"),
    Entry("large", bytes(range(256)) * 4000, "action"),
    Entry("noise", bytes((i * i * 7919 >> 7) % 256 for i in range(5000)), "action"),
]


def ignore(done: int, total: int | None) -> None:
    pass


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    bundle.write(ENTRIES, tmp_path / "a.zip", ignore)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            entry.path: entry.content for entry in ENTRIES
        }
        assert archive.getinfo("large").compress_size < 5000
        assert archive.getinfo("empty").compress_type == zipfile.ZIP_STORED
        for info in archive.infolist():
            assert info.date_time == DATE
            assert stat.S_IMODE(info.external_attr >> 16) == 0o644
    if not shutil.which("unzip"):
        return
    listed = subprocess.run(["unzip", "-tq", str(tmp_path / "a.zip")], capture_output=True)
    assert listed.returncode == 0, listed.stdout


def test_same_bytes_whatever_the_time_and_umask(tmp_path: Path) -> None:
    first = tmp_path / "first.zip"
    bundle.write(ENTRIES, first, ignore)
    old = os.umask(0o077)
    try:
        time.sleep(2.1)  # zip dates count in steps of two seconds
        bundle.write(ENTRIES, tmp_path / "second.zip", ignore)
    finally:
        os.umask(old)
    assert first.read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.zip"
    with files.replacing(target) as part:
        part.write_bytes(b"old")
    with pytest.raises(RuntimeError), files.replacing(target) as part:
        part.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_full_disk(small_disk: Path, tmp_path: Path, colour_labels: Path) -> None:
    """The whole tool: a clear error, nothing left, and the next run succeeds."""
    model = Colours().write(tmp_path / "m.tflite")
    command = [sys.executable, "build_zip.py", "--model", str(model), "--quiet"]
    command += [
        "--labels",
        str(colour_labels),
        "--no-smoke",
        "--no-keep",
        "--runtime",
        "wheels",
        "--output",
    ]
    full = subprocess.run(
        [*command, str(small_disk / "dist" / "a.zip")], cwd=ROOT, capture_output=True, text=True
    )
    assert full.returncode == 1
    assert "a.zip: No space left on device" in full.stderr
    assert "free some space" in full.stderr
    assert not list(small_disk.rglob("*.*"))
    again = subprocess.run([*command, str(tmp_path / "a.zip")], cwd=ROOT, capture_output=True)
    assert again.returncode == 0, again.stderr
    assert zipfile.is_zipfile(tmp_path / "a.zip")


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BuildError, match="cannot write .*a.zip"):
        with files.replacing(tmp_path / "file" / "a.zip"):
            pass


def test_what_is_in(zip_path: Path) -> None:
    assert zip_path.stat().st_size <= 31_000_000
    with zipfile.ZipFile(zip_path) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
        licences = archive.read("LICENSES.txt").decode()
    assert names == sorted(names)
    assert "__main__.py" in names
    assert not [name for name in names if "/cli." in name or "tests/" in name or "f2py" in name]
    assert {name for name in names if not name.startswith(("lib/", "model/"))} == {
        *("__main__.py", "manifest.json", "LICENSES.txt", "sbom.cdx.json"),
        *(f"action/{name}" for name in own_modules() - {"launcher.py"}),
        *(f"action/{path.name}" for path in ACTION.glob("*.html")),
        *(f"action/__pycache__/{name}.{CACHED}.pyc" for name in ("__init__", "packages")),
    }
    parts = {part["name"]: part for part in manifest["parts"]}
    for name in ("ai-edge-litert", "numpy", "pillow"):
        assert parts[name]["version"]
        assert re.fullmatch("[0-9a-f]{64}", parts[name]["sha256"])
        assert parts[name]["licence"] in licences
    for text in ("Apache License", "OpenBLAS", "LIBJPEG", "Permission is hereby granted"):
        assert text in licences


def own_modules() -> set[str]:
    """The files of `action/` that may ship in it."""
    return {path.name for path in ACTION.glob("*.py")} - {"__main__.py"}


def test_what_is_in_a_precompiled_zip(zip_path: Path, precompiled_path: Path) -> None:
    """What the portable zip has, with what the runtime would have made of it."""
    with zipfile.ZipFile(zip_path) as one, zipfile.ZipFile(precompiled_path) as other:
        names, more = set(one.namelist()), set(other.namelist())
        assert names - more == {"__main__.py"}
        assert more - names == {"main__.py", "exec", "exec.env", "action/launcher.py"}
        assert other.read("main__.py") == one.read("__main__.py")
        differing = {n for n in names & more if one.read(n) != other.read(n)}
        assert differing == {"manifest.json", f"lib/{package_tag(HERE)}/action.modules"}
        assert other.read("exec.env") == IMAGE.encode()
        assert json.loads(other.read("manifest.json"))["executionEnv"] == IMAGE
        own = set(archived(other.read(f"lib/{package_tag(HERE)}/action.modules")))
    in_place = {"__init__.py", "packages.py"}
    assert own == {f"action.{name[:-3]}" for name in own_modules() - in_place}


def test_modules_ship_in_archives(zip_path: Path) -> None:
    """One per package, with all its modules; nothing else that Python would compile again."""
    lib = f"lib/{package_tag(HERE)}/"
    with zipfile.ZipFile(zip_path) as archive:
        names = [name for name in archive.namelist() if name.startswith(lib)]
        modules = {
            name.removeprefix(lib).removesuffix(MODULES): set(archived(archive.read(name)))
            for name in names
            if name.endswith(MODULES)
        }
    assert set(modules) == {"action", "ai-edge-litert", "numpy", "pillow"}
    assert {"numpy", "numpy._core.multiarray", "numpy._core._multiarray_umath"} <= modules["numpy"]
    assert {"PIL", "PIL.JpegImagePlugin", "PIL._imaging"} <= modules["pillow"]
    assert [name for name in names if name.endswith((".py", ".pyc"))] == []


def test_bill_of_materials(zip_path: Path) -> None:
    """The maintained library reads it back, with the manifest's parts, versions and hashes."""
    with zipfile.ZipFile(zip_path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        bom = Bom.from_json(json.loads(archive.read("sbom.cdx.json")))  # type: ignore[attr-defined]
    found = {c.name: (c.version or "", {h.content for h in c.hashes}) for c in bom.components}
    assert found == {
        part["name"]: (part["version"], {part["sha256"]}) for part in manifest["parts"][1:]
    }
    assert bom.metadata.component.name == "action"


def test_no_path_of_this_machine(zip_path: Path) -> None:
    """The code files name files as they are in the zip."""
    home = str(ROOT).encode()
    with zipfile.ZipFile(zip_path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if not name.endswith((".so", ".tflite")) and ".so." not in name:
                assert home not in content, name
                assert b"/tmp/" not in content or name.startswith("lib/"), name


def test_the_removal_lists_are_alive() -> None:
    """Each pattern removes or keeps something from a wheel of some Python; each has a reason."""
    from builder.paths import DOWNLOADS

    rules = data.read(PRUNE)
    for package in data.pins()["wheels"]["package"]:
        wheels = [DOWNLOADS / pin["file"] for pin in package["files"].values()]
        names = {
            name for wheel in wheels if wheel.exists() for name in zipfile.ZipFile(wheel).namelist()
        }
        everywhere = all(wheel.exists() for wheel in wheels)
        for kind in ("keep", "drop"):
            for rule in rules[package["name"]][kind]:
                assert len(rule["reason"]) > 5
                for pattern in rule["paths"] if everywhere else ():
                    alone = {"keep": [{"paths": [pattern]}], "drop": []}
                    assert apply(alone, names), f"{package['name']}: {pattern} matches nothing"


@pytest.mark.parametrize("execution_env", ["", IMAGE], ids=["portable", "precompiled"])
@pytest.mark.parametrize("python", PYTHONS)
def test_code_files_are_the_same_each_time(
    make_zip: Callable[..., Path],
    imagenet_model: str,
    python: str,
    execution_env: str,
    tmp_path: Path,
    console: Console,
) -> None:
    """Each Python compiles to the same bytes again, with sets and all."""
    first = make_zip(python, imagenet_model, execution_env=execution_env)
    wishes = build.Wishes(
        (python,),
        tmp_path / "again.zip",
        imagenet_model,
        provider="wheels",
        execution_env=execution_env,
        smoke=False,
        keep=False,
    )
    build.build(wishes, console)
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(tmp_path / "again.zip") as other:
        differing = [n for n in one.namelist() if one.read(n) != other.read(n)]
    assert differing == []
    assert (tmp_path / "again.zip").read_bytes() == first.read_bytes()


def test_two_builds_in_two_folders(
    zip_path: Path, precompiled_path: Path, imagenet_model: str, tmp_path: Path
) -> None:
    """Another checkout, another time, the real command: the same bytes."""
    checkout = tmp_path / "elsewhere" / "checkout"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, files):
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    model = str((ROOT / imagenet_model).resolve()) if "/" in imagenet_model else imagenet_model
    command = [sys.executable, "build_zip.py", "--model", model, "--python", HERE, "--json"]
    command += ["--quiet", "--runtime", "wheels"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (checkout / "dist" / "classify.zip").read_bytes() == zip_path.read_bytes()
    command += ["--precompiled", "--execution-env", IMAGE, "--output", "p.zip", "--no-keep"]
    again = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert (checkout / "p.zip").read_bytes() == precompiled_path.read_bytes()
    report = json.loads(done.stdout)
    assert report["smoke"][HERE]["results"][0]["className"] == "espresso"
    assert report["ok"]
    answered = subprocess.run(
        [sys.executable, "-m", "action", "builder/sample/espresso.jpg"],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert json.loads(answered.stdout)["results"] == [
        {key: result[key] for key in ("className", "probability")}
        for result in report["smoke"][HERE]["results"]
    ]


def test_without_an_interpreter_for_it(
    tmp_path: Path,
    console: Console,
    colour_labels: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_zip: Callable[..., Path],
) -> None:
    """No Python of that version here: the zip has sources, still answers, and it is said aloud."""
    from builder import interpreters, smoke
    from builder.model import Said
    from tests.conftest import PLUS_MINUS_ONE, base64_of, encoded, interpreter, plain

    path = interpreter(HERE)
    monkeypatch.setattr(interpreters, "find", lambda version: None)
    model = Colours().write(tmp_path / "m.tflite")
    output = tmp_path / "a.zip"
    wishes = build.Wishes(
        (HERE,),
        output,
        str(model),
        Said(colour_labels, PLUS_MINUS_ONE),
        provider="wheels",
        keep=False,
    )
    outcome = build.build(wishes, console)
    assert outcome.smoke == {}
    said = capsys.readouterr().err
    assert f"no Python {HERE} runs here: its modules are not byte-compiled" in said
    assert "not invoked" in said
    names = zipfile.ZipFile(output).namelist()
    assert not [name for name in names if name.endswith((".pyc", MODULES))]
    assert f"lib/{package_tag(HERE)}/numpy/__init__.py" in names
    with smoke.launched(output, path) as running:
        answer = running.run({"image": base64_of(encoded(plain("red")))})
    assert answer["results"][0]["className"] == "red"


@pytest.mark.parametrize("python", PYTHONS)
def test_docstrings_go_and_assertions_stay(tmp_path: Path, python: str) -> None:
    found = interpreters.find(python)
    if found is None:
        pytest.skip(f"no Python {python} on this machine")
    source = tmp_path / "m.py"
    source.write_text(
        '"""Of the module."""\n'
        "class C:\n    'Of the class.'\n    def f(self):\n        'Of f.'\n        return 'data'\n"
        "def g():\n    f'not {1} docstring'\n"
        "try:\n    assert False, 'stays'\nexcept AssertionError as error:\n    said = error\n"
    )
    codes = bundle._compile(found, [(source, "lib/m.py")])
    (tmp_path / "m.pyc").write_bytes(codes["lib/m.py"])
    source.unlink()
    said = subprocess.run(
        [found.path, "-I", "-c", "import sys; sys.path.insert(0, sys.argv[1]); import m;"
         "print([m.__doc__, m.C.__doc__, m.C.f.__doc__, m.g.__doc__, m.C().f(), str(m.said)])",
         str(tmp_path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert ast.literal_eval(said) == ["", "", "", None, "data", "stays"]
