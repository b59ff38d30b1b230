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
from builder.base.variables import (
    BYTECODE_CACHE,
    NO_BYTECODE,
    neutral_variables,
    pip_variables,
)
from tests.conftest import seed
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
        f"[install]\ntarget = {evil}\nprefix = {evil}\nuser = true\nno-binary = :all:\n"
        "require-virtualenv = true\nconstraint = /no/such/file\ndry-run = true\n"
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


def test_only_settings_that_reach_the_index_are_passed_on(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://one.invalid/simple\nproxy = http://proxy.invalid:1\n"
        "trusted-host =\n    a.invalid\n    b.invalid\n[install]\ncert = /a/bundle\ntarget = /x\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "https://two.invalid/simple")
    monkeypatch.setenv("PIP_PROXY", "")
    monkeypatch.setenv("PIP_PREFIX", "/x")
    monkeypatch.delenv("PIP_RETRIES")
    monkeypatch.delenv("PIP_NO_CACHE_DIR")
    for name in ("HTTPS_PROXY", "SSL_CERT_FILE", "XDG_CACHE_HOME", "PYTHONUTF8", "LANG"):
        monkeypatch.setenv(name, "kept")
    for name in ("DESTDIR", "CPATH", "PYTHONPATH", "PYTHONHOME"):
        monkeypatch.setenv(name, "/x")
    variables = pip_variables([sys.executable, "-I", "-m", "pip"], tmp_path)
    assert {name: value for name, value in variables.items() if name.startswith("PIP_")} == {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "https://two.invalid/simple",
        "PIP_PROXY": "http://proxy.invalid:1",
        "PIP_TRUSTED_HOST": "a.invalid b.invalid",
        "PIP_CERT": "/a/bundle",
    }
    assert "/x" not in variables.values()
    assert list(variables.values()).count("kept") == 5


@pytest.mark.parametrize("own", [{}, {"PYTHONPYCACHEPREFIX": "/x"}])
def test_bytecode_goes_to_the_cache_if_not_wanted_beside_the_sources(own: dict[str, str]) -> None:
    prefix = {"PYTHONPYCACHEPREFIX": str(BYTECODE_CACHE)}
    assert neutral_variables({NO_BYTECODE: "1", **own}) == {**prefix, **own}


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
    path: Path = request.getfixturevalue(file)
    break_command(monkeypatch, "ensurepip")
    progress: list[str] = []
    python = ensure_environment("it", path, BASE, tmp_path / "made", progress.append)
    assert works(python, tmp_path / "made")
    steps = ["making a virtual environment", "fetching packages"]
    steps += ["installing 2 packages" if file == "requirements" else "installing 1 package"]
    assert [line.strip() for line in progress[1:]] == steps


def test_environment_without_a_pinned_pip_has_its_own(unpinned: Path, tmp_path: Path) -> None:
    python = ensure_environment("it", unpinned, folder=tmp_path / "made")
    assert subprocess.run([python, "-I", "-m", "pip", "--version"]).returncode == 0
    assert works(python, tmp_path / "made")


@pytest.mark.parametrize(
    ("fault", "text", "hint"),
    [
        ("no pip", "no ensurepip here", "apt install python"),
        ("damaged wheel", r"could not install it\.txt", "pip config list"),
        ("damaged pip.conf", r"pip cannot read its settings(.|\n)*pip\.conf", "fix the file"),
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
    else:
        (tmp_path / "pip.conf").write_text("[global\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(BuildError, match=text) as caught:
        ensure_environment("it", requirements, folder=tmp_path / "made")
    assert hint in caught.value.hint
    assert not list((tmp_path / "made").iterdir())


def test_broken_or_invalidated_environment_is_made_again(
    requirements: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    python = ensure_environment("it", requirements, folder=made)
    assert ensure_environment("it", requirements, folder=made, notify=pytest.fail) == python
    [module] = made.glob("it-*/lib/*/site-packages/small/__init__.py")
    module.unlink()
    assert works(ensure_environment("it", requirements, folder=made), made)
    environments.invalidate(python)
    progress: list[str] = []
    ensure_environment("it", requirements, folder=made, notify=progress.append)
    assert progress
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
    assert {path.name for path in made.iterdir()} == {*names[1:], home.name}
    os.utime(home / READY, (old, old))
    ensure_environment("it", requirements, folder=made)
    assert (home / READY).stat().st_mtime > old + 24 * 3600


@pytest.mark.parametrize(
    ("cache", "variables", "build", "folder"),
    [
        ("folder", {}, ROOT / "build", "home/classify-zip/environments"),
        ("none yet", {}, ROOT / "build", "home/classify-zip/environments"),
        ("file", {}, ROOT / "build", ROOT / "build"),
        ("folder", {"CLASSIFY_WORK": "work"}, "work/build", "work/build"),
        # as the XDG Base Directory Specification demands
        ("none yet", {"XDG_CACHE_HOME": "x"}, ROOT / "build", ".cache/classify-zip/environments"),
    ],
)
def test_environments_are_in_the_cache_if_it_can_be_written(
    tmp_path: Path, cache: str, variables: dict[str, str], build: Path, folder: Path
) -> None:
    home = tmp_path / "home"
    if cache == "folder":
        home.mkdir()
    elif cache == "file":
        home.write_text("in the way")
    paths = {"XDG_CACHE_HOME": str(home), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    script = "from builder.base.paths import *; print(BUILD, ENVIRONMENTS, sep='\\n')"
    command = [sys.executable, "-c", script]
    printed = subprocess.check_output(command, cwd=tmp_path, env={**paths, **variables}, text=True)
    assert [Path(line) for line in printed.splitlines()] == [tmp_path / build, tmp_path / folder]


def test_virtual_environment_shares_those_of_its_base_python() -> None:
    script = "from builder.base import environments; print(environments.BASE_PYTHON)"
    printed = {
        subprocess.run([python, "-c", script], cwd=ROOT, capture_output=True, text=True).stdout
        for python in (sys.executable, BASE)
    }
    assert printed == {f"{BASE}\n"}
    assert sys.prefix != sys.base_prefix and not BASE.startswith(sys.prefix)


def test_broken_package_of_the_tool_heals(tmp_path: Path) -> None:
    """`build_zip.py` notices that its environment broke, and rebuilds it on its next run."""
    command = [sys.executable, str(ROOT / "build_zip.py"), "check", str(ROOT / "README.md")]
    command += ["--work", str(tmp_path)]
    home = seed(tmp_path / "build").parent.parent
    [module] = home.glob("lib/python*/site-packages/rich/console.py")
    size = module.stat().st_size  # a file of another size is noticed before
    module.unlink()
    module.write_text("import no_such_module".ljust(size))
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1
    assert "a package of the tool's environment does not import" in again.stderr
    assert "Traceback" not in again.stderr
    healed = subprocess.run(command, capture_output=True, text=True)
    assert "preparing" in healed.stderr
    assert "is not a complete zip" in healed.stderr, healed.stderr
