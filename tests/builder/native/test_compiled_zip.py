"""A zip of compiled packages is small, and whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.artifact import audit
from tests.conftest import MOBILENET, PYTHONS
from tests.support.compiled import PYTHON, needs_compiled

Make = Callable[..., Path]
pytestmark = needs_compiled


@pytest.mark.parametrize("python", PYTHONS)
def test_zip_and_packages_are_small(make_compiled: Make, imagenet_model: str, python: str) -> None:
    archive = make_compiled(python, imagenet_model)
    report = audit.audit_zip(archive)
    assert report.problems == []
    packed = {component.name: component.packed for component in report.components}
    model = packed[next(name for name in packed if name.startswith("model "))]
    assert report.bytes - model <= 2_050_000  # numpy 2.5 is larger than 2.4
    assert packed["tflite-runtime"] <= 700_000
    assert packed["pillow"] <= 450_000
    assert packed["numpy"] <= 820_000
    assert (
        sum(component.files for component in report.components) <= 36
    )  # of which the platform unpacks 8
    if Path(imagenet_model) == MOBILENET:
        assert report.bytes <= 5_000_000
        assert sum(component.unpacked for component in report.components) <= 10_000_000


def test_every_module_imports(make_compiled: Make, imagenet_model: str, tmp_path: Path) -> None:
    from tests.action.test_zip import assert_all_import

    assert_all_import(make_compiled(PYTHON, imagenet_model), PYTHON, tmp_path, 45)
