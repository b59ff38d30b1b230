"""The files in `deploy/`: in step with the project and with the documentation."""

from __future__ import annotations

import re

import yaml

from builder.artifact import platform
from builder.artifact.memory import estimate_early
from builder.base.paths import ROOT
from builder.model import known_models

# What a zip of either kind of packages needs: these files do not know which one they deploy.
NEEDED = max(
    estimate_early(provider, next(iter(known_models().values()))["bytes"])
    for provider in ("wheels", "auto")
)


def read_commands(text: str) -> set[str]:
    """Return the commands in the comments above a manifest, the build's first."""
    return {re.findall("`(python3 .*)`", text)[0], *re.findall("^#   (.*)", text, re.MULTILINE)}


def test_manifests_deploy_the_default_zip() -> None:
    """Fields as in openwhisk-wskdeploy's spec_actions.md and in DigitalOcean's documentation."""
    wskdeploy = (ROOT / "deploy" / "wskdeploy" / "manifest.yaml").read_text()
    assert yaml.safe_load(wskdeploy)["packages"]["classify"]["actions"]["classify"] == {
        "function": "../../dist/classify.zip",
        "runtime": "python:3.11",
        "web": True,
        "limits": {"memorySize": NEEDED, "timeout": 60_000},
    }
    digitalocean = (ROOT / "deploy" / "digitalocean" / "project.yml").read_text()
    assert yaml.safe_load(digitalocean)["packages"][0]["functions"][0] == {
        "name": "classify",
        "runtime": "python:3.11",
        "web": "raw",
        "limits": {"memory": NEEDED, "timeout": 60_000},
    }
    assert "3.11" in platform.pythons()
    documented = (ROOT / "docs" / "deploy.md").read_text().splitlines()
    assert read_commands(wskdeploy) | read_commands(digitalocean) <= set(documented)
