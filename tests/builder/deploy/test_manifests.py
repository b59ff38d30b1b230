"""The files in `deploy/`: as their documentation has it, and in step with the project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from builder.artifact import platform
from builder.base.paths import ROOT
from builder.options import ZIP

DEPLOY = ROOT / "deploy"
WSKDEPLOY = DEPLOY / "wskdeploy" / "manifest.yaml"
DIGITALOCEAN = DEPLOY / "digitalocean" / "project.yml"
NAME = {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_@.-]*$", "maxLength": 256}
TEXT = {"type": "string"}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


# Only the fields that our files may use.
# github.com/apache/openwhisk-wskdeploy: specification/html/spec_actions.md (fields, valid limit
# keys and their ranges) and spec_packages.md
WSKDEPLOY_ACTION = closed(
    {
        "version": {"type": ["string", "number"]},
        "function": TEXT,
        "runtime": TEXT,
        "web": {"enum": [True, False, "yes", "no", "raw"]},
        "web-export": {"enum": [True, False, "yes", "no", "raw"]},
        "limits": closed(
            {
                "memorySize": {"type": "integer", "minimum": 128, "maximum": 2048},
                "timeout": {"type": "integer", "minimum": 100, "maximum": 600_000},
                "logSize": {"type": "integer", "minimum": 0, "maximum": 10},
            }
        ),
    },
    "function",
)
WSKDEPLOY_PACKAGE = closed(
    {
        "version": {"type": ["string", "number"]},
        "license": TEXT,
        "actions": {
            "type": "object",
            "propertyNames": NAME,
            "additionalProperties": WSKDEPLOY_ACTION,
        },
    }
)
WSKDEPLOY_SCHEMA = closed(
    {
        "packages": {
            "type": "object",
            "propertyNames": NAME,
            "additionalProperties": WSKDEPLOY_PACKAGE,
        }
    },
    "packages",
)

# https://docs.digitalocean.com/products/functions/reference/project-configuration/
# https://docs.digitalocean.com/products/functions/details/limits/ (memory, timeout)
# https://docs.digitalocean.com/products/functions/reference/runtimes/python/ (runtime)
DIGITALOCEAN_FUNCTION = closed(
    {
        "name": NAME,
        "runtime": {"enum": ["python:3.9", "python:3.11", "python:3.12", "python:3.13"]},
        "web": {"enum": [True, False, "raw"]},
        "webSecure": {"type": ["boolean", "string"]},
        "limits": closed(
            {
                "memory": {"type": "integer", "minimum": 128, "maximum": 1024},
                "timeout": {"type": "integer", "minimum": 100, "maximum": 900_000},
                "logs": {"type": "integer"},
            }
        ),
    },
    "name",
)
DIGITALOCEAN_SCHEMA = closed(
    {
        "packages": {
            "type": "array",
            "items": closed(
                {
                    "name": NAME,
                    "functions": {"type": "array", "items": DIGITALOCEAN_FUNCTION},
                },
                "name",
            ),
        },
    },
    "packages",
)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def shell_lines(text: str) -> set[str]:
    blocks = re.findall(r"^```sh[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return {line for block in blocks for line in block.splitlines()}


COMMANDS = shell_lines((ROOT / "docs" / "deploy.md").read_text())
KINDS = platform.table()["kinds"]


@pytest.mark.parametrize(
    ("path", "schema"),
    [(WSKDEPLOY, WSKDEPLOY_SCHEMA), (DIGITALOCEAN, DIGITALOCEAN_SCHEMA)],
    ids=["wskdeploy", "digitalocean"],
)
def test_manifest_follows_its_schema(path: Path, schema: dict[str, Any]) -> None:
    jsonschema_rs.meta.validate(schema)
    problems = jsonschema_rs.validator_for(schema).iter_errors(read(path))
    assert [f"{error.instance_path}: {error.message}" for error in problems] == []


def test_wskdeploy_manifest_deploys_the_default_zip() -> None:
    action = read(WSKDEPLOY)["packages"]["classify"]["actions"]["classify"]
    assert (WSKDEPLOY.parent / action["function"]).resolve() == ZIP.resolve()
    assert action["runtime"] in KINDS
    assert action["limits"]["memorySize"] >= 128
    assert action["web"] is True
    assert f"wskdeploy -m {WSKDEPLOY.relative_to(ROOT)}" in COMMANDS
    assert f"python3 build_zip.py --python {action['runtime'].removeprefix('python:')}" in COMMANDS


def test_digitalocean_project_deploys_the_default_zip() -> None:
    (package,) = read(DIGITALOCEAN)["packages"]
    (function,) = package["functions"]
    assert function["runtime"] in KINDS
    assert function["limits"]["memory"] >= 128
    assert function["web"] == "raw"
    folder = DIGITALOCEAN.parent.relative_to(ROOT)
    place = folder / "packages" / package["name"]
    wanted = [
        f"python3 build_zip.py --python {function['runtime'].removeprefix('python:')}",
        f"mkdir -p {place}",
        f"cp {ZIP.relative_to(ROOT)} {place / (function['name'] + '.zip')}",
        f"doctl serverless deploy {folder}",
    ]
    assert set(wanted) <= COMMANDS
    above = DIGITALOCEAN.read_text()
    assert all(f"#   {line}\n" in above for line in wanted[1:])
    assert f"/{folder}/packages/" in (ROOT / ".gitignore").read_text().splitlines()
