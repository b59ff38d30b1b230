"""The files in `deploy/`: in step with the project and with the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from builder.artifact import platform
from builder.artifact.memory import estimate_early
from builder.base.paths import ROOT
from builder.model import known_models
from builder.options import ZIP

DEPLOY = ROOT / "deploy"
WSKDEPLOY = DEPLOY / "wskdeploy" / "manifest.yaml"
DIGITALOCEAN = DEPLOY / "digitalocean" / "project.yml"
BLOCKS = re.findall(
    r"^```sh[^\n]*\n(.*?)^```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL | re.MULTILINE
)
COMMANDS = {line for block in BLOCKS for line in block.splitlines()}
# What a zip of either kind of packages needs: these files do not know which one they deploy.
NEEDED = max(
    estimate_early(provider, next(iter(known_models().values()))["bytes"])
    for provider in ("wheels", "auto")
)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_wskdeploy_manifest_deploys_the_default_zip() -> None:
    """Fields as in openwhisk-wskdeploy, specification/html/spec_actions.md."""
    package = read(WSKDEPLOY)["packages"]["classify"]
    action = package["actions"]["classify"]
    assert (WSKDEPLOY.parent / action["function"]).resolve() == ZIP.resolve()
    assert action.keys() == {"function", "runtime", "web", "limits"}
    assert action["limits"] == {"memorySize": NEEDED, "timeout": 60_000}
    assert action["web"] is True
    assert f"wskdeploy -m {WSKDEPLOY.relative_to(ROOT)}" in COMMANDS
    assert f"python3 build_zip.py --python {python_of(action)}" in COMMANDS


def test_digitalocean_project_deploys_the_default_zip() -> None:
    """Fields as in docs.digitalocean.com/products/functions/reference/project-configuration/."""
    (package,) = read(DIGITALOCEAN)["packages"]
    (function,) = package["functions"]
    assert function.keys() == {"name", "runtime", "web", "limits"}
    assert function["limits"] == {"memory": NEEDED, "timeout": 60_000}
    assert function["web"] == "raw"
    folder = DIGITALOCEAN.parent.relative_to(ROOT)
    place = folder / "packages" / package["name"]
    wanted = [
        f"python3 build_zip.py --python {python_of(function)}",
        f"mkdir -p {place}",
        f"cp {ZIP.relative_to(ROOT)} {place / (function['name'] + '.zip')}",
        f"doctl serverless deploy {folder}",
    ]
    assert set(wanted) <= COMMANDS
    above = DIGITALOCEAN.read_text()
    assert all(f"#   {line}\n" in above for line in wanted[1:])
    assert f"/{folder}/packages/" in (ROOT / ".gitignore").read_text().splitlines()


def python_of(function: dict[str, Any]) -> str:
    """Return the Python version of a function's kind, which a zip can be built for."""
    python = str(function["runtime"]).removeprefix("python:")
    assert python in platform.pythons()
    return python
