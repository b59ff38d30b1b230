"""Virtual environments: complete or absent, whatever the user's settings say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.base import environments
from builder.base.environments import READY, ensure_environment
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from builder.base.variables import neutral_variables
from tests.support.index import PackageIndex

BASE = environments.BASE_PYTHON
# A module of the user's own that must not be imported.
SHADOW = "raise SystemExit('a module of the user's own')\n"


@pytest.fixture
def unpinned(index: PackageIndex, tmp_path: Path) -> Path:
    """A requirements file with a package called small."""
    path = tmp_path / "requirements" / "it.txt"
    path.parent.mkdir()
    path.write_text(index.release_wheel("small"))
    return path


@pytest.fixture
def requirements(index: PackageIndex, unpinned: Path) -> Path:
    """The same with a pip, which makes installing quick."""
    pip = index.release_wheel("pip", "99.0")
    unpinned.write_text(f"{pip}    # via a comment\n{unpinned.read_text()}")
    return unpinned


def works(python: Path, home: Path) -> bool:
    code = "import small, sys; sys.exit(not small.__file__.startswith(sys.argv[1]))"
    command = [str(python), "-I", "-c", code, str(home)]
    return subprocess.run(command, env=neutral_variables()).returncode == 0


def test_settings_that_set_places_are_ignored(
    requirements: Path, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in ("small", "venv", "ensurepip", "pip", "sitecustomize", "random"):
        (evil / f"{name}.py").write_text(SHADOW)
    monkeypatch.chdir(evil)
    (tmp_path / "pip.conf").write_text(
        f"[global]\nindex-url = {index.url}\nretries = 0\nquiet = 2\n"
        "require-virtualenv = true\n"
        f"[install]\ntarget = {evil}\nprefix = {evil}\nuser = true\nno-binary = :all:\n"
        "constraint = /no/such/file\ndry-run = true\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_INDEX_URL")
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_PYTHON", "PYTHONPATH", "PYTHONHOME"):
        monkeypatch.setenv(name, str(evil))
    for name in ("PIP_USER", "PIP_DRY_RUN", "PIP_QUIET"):
        monkeypatch.setenv(name, "1")
    before = sorted(evil.iterdir())
    python = ensure_environment("it", requirements, folder=tmp_path / "made")
    assert works(python, tmp_path / "made")
    assert sorted(evil.iterdir()) == before


def test_only_settings_that_reach_the_index_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ("PIP_INDEX_URL", "PIP_CERT", "PIP_CONFIG_FILE", "HTTPS_PROXY", "SSL_CERT_FILE", "LANG")
    removed = ("PIP_PREFIX", "PIP_CONSTRAINT", "DESTDIR", "CPATH", "PYTHONPATH", "PYTHONHOME")
    monkeypatch.setattr(os, "environ", dict.fromkeys((*kept, *removed), "x"))
    assert neutral_variables() == dict.fromkeys(kept, "x")


def break_command(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Fail every command that has one of these words."""
    run = environments._try_command

    def failing(command: list[str], cwd: Path) -> tuple[int, str]:
        if set(words) & set(command):
            return 1, f"no {words[0]} here\n"
        return run(command, cwd)

    monkeypatch.setattr(environments, "_try_command", failing)


@pytest.mark.parametrize("file", ["requirements", "unpinned"])
def test_pip_is_borrowed_where_one_is_pinned_or_python_has_no_ensurepip(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """As Debian's python3 without python3-venv."""
    break_command(monkeypatch, "ensurepip")
    python = ensure_environment("it", request.getfixturevalue(file), folder=tmp_path / "made")
    assert works(python, tmp_path / "made")


def test_environment_without_a_pinned_pip_has_its_own(unpinned: Path, tmp_path: Path) -> None:
    python = ensure_environment("it", unpinned, folder=tmp_path / "made")
    assert subprocess.run([python, "-I", "-m", "pip", "--version"]).returncode == 0
    assert works(python, tmp_path / "made")


@pytest.mark.parametrize(
    ("fault", "text", "hint"),
    [
        ("no pip", "no ensurepip here", "apt install python"),
        ("damaged wheel", r"could not download packages of it\.txt", "pip config list"),
        ("no index", "Connection refused", "pip config list"),
        (
            "damaged pip.conf",
            r"could not download packages of it\.txt(.|\n)*pip\.conf",
            "pip config list",
        ),
    ],
)
def test_failure_says_what_to_do_and_leaves_nothing(
    requirements: Path,
    index: PackageIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    text: str,
    hint: str,
) -> None:
    if fault == "no pip":
        break_command(monkeypatch, "ensurepip", "pip")
    elif fault == "damaged wheel":
        index.served["/files/small-1.0-py3-none-any.whl"].content += b"x"
    elif fault == "no index":
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_RETRIES", "1")
    else:
        (tmp_path / "pip.conf").write_text("[global\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(BuildError, match=text) as caught:
        ensure_environment("it", requirements, folder=tmp_path / "made")
    assert hint in caught.value.hint
    assert not list((tmp_path / "made").glob("it-*"))


def test_broken_environment_is_made_again(requirements: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    python = ensure_environment("it", requirements, folder=made)
    assert ensure_environment("it", requirements, folder=made, notify=pytest.fail) == python
    [module] = made.glob("it-*/lib/*/site-packages/small/__init__.py")
    module.unlink()
    assert works(ensure_environment("it", requirements, folder=made), made)
    made.chmod(0o777)
    with pytest.raises(BuildError, match="expected a folder that only you can write to"):
        ensure_environment("it", requirements, folder=made)


def test_unused_environments_of_the_same_name_are_removed(
    requirements: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    names = ("it-000000000000", "it-111111111111", "other-000000000000", "it-notes")
    for name in names:
        (made / name).mkdir(parents=True)
        (made / name / READY).touch()
    old = time.time() - 31 * 24 * 3600
    for name in (names[0], *names[2:]):
        os.utime(made / name / READY, (old, old))
    home = ensure_environment("it", requirements, folder=made).parent.parent
    assert {path.name for path in made.glob("[!.]*")} == {*names[1:], home.name}
    os.utime(home / READY, (old, old))
    ensure_environment("it", requirements, folder=made)
    assert (home / READY).stat().st_mtime > old + 24 * 3600


@pytest.mark.parametrize(
    ("variables", "build", "folder"),
    [
        ({}, ROOT / "build", "home/classify-zip/environments"),
        ({"CLASSIFY_WORK": "work"}, "work/build", "work/build"),
        # as the XDG Base Directory Specification demands
        ({"XDG_CACHE_HOME": "x"}, ROOT / "build", ".cache/classify-zip/environments"),
    ],
)
def test_environments_are_in_the_cache_or_in_the_folder_for_all(
    tmp_path: Path, variables: dict[str, str], build: Path, folder: Path
) -> None:
    home = {"XDG_CACHE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    script = "from builder.base.paths import *; print(BUILD, ENVIRONMENTS, sep='\\n')"
    printed = subprocess.check_output(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), **home, **variables},
        text=True,
    )
    assert [Path(line) for line in printed.splitlines()] == [tmp_path / build, tmp_path / folder]


def test_virtual_environment_shares_those_of_its_base_python() -> None:
    script = "from builder.base import environments; print(environments.BASE_PYTHON)"
    printed = {
        subprocess.run([python, "-c", script], cwd=ROOT, capture_output=True, text=True).stdout
        for python in (sys.executable, BASE)
    }
    assert printed == {f"{BASE}\n"}
    assert sys.prefix != sys.base_prefix and not BASE.startswith(sys.prefix)
