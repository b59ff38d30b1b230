"""The removal lists of prune.toml."""

from __future__ import annotations

import zipfile

from builder.base.paths import DOWNLOADS
from builder.base.toml import read_toml
from builder.packages.prune import PRUNE, apply_rules
from builder.packages.wheels import read_pins


def test_every_pattern_matches_a_wheel_and_has_a_reason() -> None:
    rules = read_toml(PRUNE)
    for package in read_pins()["wheels"]["package"]:
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
                    assert apply_rules(alone, names), f"{pattern} matches nothing"
