"""The environments that the tool makes for itself: whatever surrounds it, whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.base import environments
from builder.base.environments import ensure_environment
from builder.base.errors import BuildError
from builder.base.files import Notify
from builder.base.paths import ROOT
from builder.base.variables import NO_BYTECODE, neutral_variables, pip_variables
from tests.builder.base.test_download import wheel
from tests.conftest import seed
from tests.support.server import File, serving

NAMES = ("pip", "small")
"""The packages of our environments here; this pip is empty, and only says that there is one."""
SHADOW = "raise SystemExit('a module of the user's own')\n"


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A requirements file with packages of our own, and the `.in` that it would be made from."""
    folder = tmp_path / "requirements"
    folder.mkdir()
    pins = [
        f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel(name)).hexdigest()}\n"
        for name in NAMES
    ]
    (folder / "it.txt").write_text("".join(pins))
    (folder / "it.in").write_text("small  # of no use\n")
    return folder / "it.txt"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an index that has it; nothing of pip's is set."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    served: dict[str, File] = {}
    for name in NAMES:
        file = f"/{name}-1.0-py3-none-any.whl"
        page = f'<html><body><a href="{file}">{name}</a></body></html>'.encode()
        served |= {f"/simple/{name}/": File(page, kind="text/html"), file: File(wheel(name))}
    with serving(served) as server:
        yield f"{server.url}/simple"


def works(python: Path, home: Path) -> bool:
    code = "import small, sys; sys.exit(not small.__file__.startswith(sys.argv[1]))"
    command = [str(python), "-I", "-c", code, str(home)]
    return subprocess.run(command, env=neutral_variables()).returncode == 0


def test_variables_that_say_where_things_go(
    requirements: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in ("small", "venv", "ensurepip", "pip", "sitecustomize", "random"):
        (evil / f"{name}.py").write_text(SHADOW)
    monkeypatch.chdir(evil)
    for name in ("TARGET", "PREFIX", "ROOT", "SRC", "PYTHON", "CONSTRAINT", "REQUIREMENT", "LOG"):
        monkeypatch.setenv(f"PIP_{name}", str(evil / name))
    for name in ("USER", "REQUIRE_VIRTUALENV", "DRY_RUN", "IGNORE_INSTALLED", "NO_BUILD_ISOLATION"):
        monkeypatch.setenv(f"PIP_{name}", "1")
    for name in ("NO_BINARY", "ONLY_BINARY"):
        monkeypatch.setenv(f"PIP_{name}", ":all:")
    monkeypatch.setenv("PIP_QUIET", "3")
    monkeypatch.setenv("PIP_INDEX_URL", index)
    monkeypatch.setenv("PYTHONPATH", str(evil))
    for name in ("HOME", "USERBASE", "STARTUP", "PLATLIBDIR", "EXECUTABLE"):
        monkeypatch.setenv(f"PYTHON{name}", str(evil / "none"))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    before = sorted(evil.iterdir())
    python = ensure_environment("it", requirements, folder=tmp_path / "made")
    assert works(python, tmp_path / "made")
    assert sorted(evil.iterdir()) == before


@pytest.mark.parametrize("section", ["global", "install"])
def test_a_pip_conf_that_says_where_things_go(
    requirements: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    """What it says of the index is kept."""
    evil = tmp_path / "evil"
    file = tmp_path / "pip.conf"
    file.write_text(
        f"[global]\nindex-url = {index}\nretries = 0\nquiet = 2\n"
        + ("" if section == "global" else f"[{section}]\n")
        + f"target = {evil}\nprefix = {evil}\nroot = {evil}\nuser = true\nno-binary = :all:\n"
        "require-virtualenv = true\nonly-binary = small\nconstraint = /no/such/file\n"
        "dry-run = true\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    python = ensure_environment("it", requirements, folder=tmp_path / "made")
    assert works(python, tmp_path / "made")
    assert not evil.exists()


def test_what_is_kept_of_the_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://one.invalid/simple\nproxy = http://proxy.invalid:1\n"
        "trusted-host =\n    a.invalid\n    b.invalid\n[install]\ncert = /a/bundle\ntarget = /x\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "https://two.invalid/simple")
    monkeypatch.setenv("PIP_PREFIX", "/x")
    for name in ("HTTPS_PROXY", "SSL_CERT_FILE", "XDG_CACHE_HOME", "PYTHONUTF8", "LANG"):
        monkeypatch.setenv(name, "kept")
    for name in ("DESTDIR", "CPATH", "PYTHONPATH", "PYTHONHOME"):
        monkeypatch.setenv(name, "/x")
    found = pip_variables([sys.executable, "-I", "-m", "pip"], tmp_path)
    pips = {name: value for name, value in found.items() if name.startswith("PIP_")}
    assert pips == {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "https://two.invalid/simple",
        "PIP_PROXY": "http://proxy.invalid:1",
        "PIP_TRUSTED_HOST": "a.invalid b.invalid",
        "PIP_CERT": "/a/bundle",
    }
    assert "/x" not in found.values()
    assert list(found.values()).count("kept") == 5
    assert neutral_variables({"PATH": "/bin", "PYTHONPATH": "/x"}) == {"PATH": "/bin"}


def test_code_files_of_those_who_want_none_beside_the_sources(tmp_path: Path) -> None:
    """They are kept elsewhere: to compile all that is imported takes long."""
    root = tmp_path / "checkout"
    for name in ("action", "builder", "model"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "build_zip.py", root)
    seed(tmp_path / "cache" / "classify-zip" / "environments")
    before = {path for path in tmp_path.rglob("*") if path.is_dir()}
    variables = {"XDG_CACHE_HOME": str(tmp_path / "cache"), NO_BYTECODE: "1"}
    command = [sys.executable, str(root / "build_zip.py"), "check", str(root / "build_zip.py")]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    assert "is not a complete zip" in done.stderr, done.stderr
    made = {path for path in tmp_path.rglob("*") if path.is_dir()} - before
    code = tmp_path / "cache" / "classify-zip" / "environments" / "code"
    assert {path for path in made if path not in (code, *code.rglob("*"))} == set()
    assert list(code.rglob("builder/artifact/audit.*.pyc"))
    own = {NO_BYTECODE: "1", "PYTHONPYCACHEPREFIX": "/x"}
    assert neutral_variables(own) == {"PYTHONPYCACHEPREFIX": "/x"}


@pytest.mark.thorough
@pytest.mark.parametrize("why", ["its pip is too old", "no pip is among the requirements"])
def test_an_environment_with_a_pip_of_its_own(
    requirements: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """The recipe fetches sources with it."""
    for version, is_new in (("pip 22.2.9 from", False), ("pip 22.3 from", True), ("", False)):
        said = subprocess.CompletedProcess([], 0, version)
        assert environments._takes_another_python(said) is is_new
    monkeypatch.setenv("PIP_INDEX_URL", index)
    if why == "its pip is too old":
        monkeypatch.setattr(environments, "_takes_another_python", lambda pip: False)
    requirements.write_text("small" + requirements.read_text("utf-8").partition("small")[2])
    python = ensure_environment("it", requirements, folder=tmp_path / "made")
    assert works(python, tmp_path / "made")
    assert subprocess.run([python, "-I", "-m", "pip", "--version"]).returncode == 0


NEWER = """\
import pathlib, subprocess, sys
with pathlib.Path(sys.prefix, "asked").open("a") as file:
    print(*sys.argv[1:3], file=file)
command = [{base!r}, "-I", "-m", "pip", "--python", sys.executable, *sys.argv[1:]]
sys.exit(subprocess.call(command))
"""
"""A pip that says what it was asked for, and asks the interpreter's own."""


@pytest.mark.parametrize("version", ["99.0", "1.0"])
def test_a_newer_pip_among_them_installs_the_others(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    pip, small = wheel("pip", version, NEWER.format(base=environments.BASE_PYTHON)), wheel()
    files = {f"/pip-{version}-py3-none-any.whl": pip, "/small-1.0-py3-none-any.whl": small}
    pages = {f"/{path[1:].partition('-')[0]}/": path for path in files}
    served = {path: File(content) for path, content in files.items()}
    for page, path in pages.items():
        served[page] = File(f'<html><body><a href="{path}">it</a></body></html>'.encode(),
                            kind="text/html")  # fmt: skip
    (tmp_path / "it.txt").write_text(
        "".join(
            f"{name}=={number} \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}\n"
            f"    # via a comment\n"
            for name, number, content in (("pip", version, pip), ("small", "1.0", small))
        )
    )
    (tmp_path / "it.in").write_text("pip\nsmall\n")
    with serving(served) as server:
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        python = ensure_environment("it", tmp_path / "it.txt", folder=tmp_path / "made")
    assert works(python, tmp_path / "made")
    asked = python.parent.parent / "asked"
    if version == "1.0":
        assert not asked.exists()
    else:
        assert asked.read_text() == "install --no-input\n"
    assert not list(python.parent.parent.glob("*.txt"))


def test_a_pip_conf_that_does_not_read(
    requirements: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text("[global\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(BuildError, match="pip cannot read its settings") as caught:
        ensure_environment("it", requirements, folder=tmp_path / "made")
    assert "pip.conf" in str(caught.value)
    assert not list((tmp_path / "made").iterdir())


def test_what_does_not_import_is_not_ready_and_is_made_anew(
    requirements: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time something breaks it between pip and us; the second time it heals."""
    monkeypatch.setenv("PIP_INDEX_URL", index)
    said: list[str] = []
    install = environments._install

    def and_break(pip: list[str], file: Path, python: Path, say: Notify) -> set[str]:
        names = install(pip, file, python, say)
        [module] = python.parent.parent.rglob("small/__init__.py")
        module.write_text("import no_such_module\n")
        return names

    monkeypatch.setattr(environments, "_install", and_break)
    with pytest.raises(BuildError, match="No module named 'no_such_module'"):
        ensure_environment("it", requirements, folder=tmp_path / "made", notify=said.append)
    assert not list((tmp_path / "made").iterdir())
    monkeypatch.setattr(environments, "_install", install)
    python = ensure_environment("it", requirements, folder=tmp_path / "made", notify=said.append)
    assert works(python, tmp_path / "made")
    assert any("making a virtual environment" in line for line in said)
    assert any("fetching packages" in line for line in said)
    assert any("installing 2 packages" in line for line in said)
    said.clear()
    assert (
        ensure_environment("it", requirements, folder=tmp_path / "made", notify=said.append)
        == python
    )
    assert not said
    environments.invalidate(python)
    [module] = python.parent.parent.rglob("small/__init__.py")
    module.unlink()
    ensure_environment("it", requirements, folder=tmp_path / "made", notify=said.append)
    assert works(python, tmp_path / "made")


def test_something_else_in_its_place(
    requirements: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    python = ensure_environment("it", requirements, folder=tmp_path / "made")
    home = python.parent.parent
    elsewhere = tmp_path / "elsewhere"
    home.rename(elsewhere)
    (elsewhere / environments.READY).unlink()
    home.symlink_to(elsewhere)
    ensure_environment("it", requirements, folder=tmp_path / "made")
    assert works(python, tmp_path / "made")
    assert (elsewhere / "bin").exists()  # the user's own, left alone
    assert not home.is_symlink()


def test_two_at_once_and_one_of_them_killed(
    requirements: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits and says for what; when the first is killed it makes it by itself."""
    monkeypatch.setenv("PIP_INDEX_URL", index)
    script = (
        "import sys; from pathlib import Path\n"
        "from builder.base.environments import ensure_environment\n"
        "print(ensure_environment('it', Path(sys.argv[1]), folder=Path(sys.argv[2])))\n"
    )
    command = [sys.executable, "-c", script, str(requirements), str(tmp_path / "made")]
    pipes = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first:  # type: ignore[call-overload]
        while not list((tmp_path / "made").glob("it-*/bin")):
            assert first.poll() is None
            time.sleep(0.01)
        with subprocess.Popen(command, **pipes) as second:  # type: ignore[call-overload]
            assert f"waiting: process {first.pid} is preparing it-" in second.stderr.readline()
            first.kill()
            out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert works(Path(out.strip()), tmp_path / "made")


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("cache", ["folder", "none yet", "file"])
def test_where_environments_are(tmp_path: Path, cache: str, moved: bool) -> None:
    """In the user's cache, for all checkouts; where that cannot be written, in this one."""
    home, work = tmp_path / "home", tmp_path / "work"
    if cache == "folder":
        (home / "classify-zip").mkdir(parents=True)
    elif cache == "file":
        home.write_text("in the way")
    variables = {"XDG_CACHE_HOME": str(home), **({"CLASSIFY_WORK": str(work)} if moved else {})}
    script = (
        "from builder.base.paths import BUILD, ENVIRONMENTS; print(BUILD, ENVIRONMENTS, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=variables, capture_output=True, text=True
    )
    build, found = map(Path, done.stdout.splitlines())
    assert build == (work if moved else ROOT) / "build"
    shared = home / "classify-zip" / "environments"
    assert found == (build if moved or cache == "file" else shared)


def test_a_virtual_environment_shares_those_of_its_interpreter() -> None:
    script = "from builder.base import environments; print(environments.BASE_PYTHON)"
    found = {
        subprocess.run([python, "-c", script], cwd=ROOT, capture_output=True, text=True).stdout
        for python in (sys.executable, environments.BASE_PYTHON)
    }
    assert found == {f"{environments.BASE_PYTHON}\n"}
    assert sys.prefix != sys.base_prefix and not environments.BASE_PYTHON.startswith(sys.prefix)
    requirements = ROOT / "builder" / "requirements.txt"
    homes = {
        environments.environment_folder("it", requirements, base)
        for base in (sys.executable, environments.BASE_PYTHON)
    }
    assert len(homes) == 1


def test_a_broken_package_of_the_tool_heals(tmp_path: Path) -> None:
    """`build_zip.py` finds that its environment broke, makes it anew, and goes on."""
    command = [sys.executable, str(ROOT / "build_zip.py"), "--work", str(tmp_path)]
    command += ["check", str(ROOT / "README.md")]
    home = seed(tmp_path / "build").parent.parent
    first = subprocess.run(command, capture_output=True, text=True)
    assert "is not a complete zip" in first.stderr, first.stderr
    assert "preparing" not in first.stderr
    [module] = home.glob("lib/python*/site-packages/rich/console.py")
    module.unlink()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1
    assert "a package of the tool's environment does not import" in again.stderr
    assert "is not a complete zip" in again.stderr, again.stderr
    assert "Traceback" not in again.stderr
