"""Zips of compiled packages. Compiling takes minutes, so tests use what is in the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.compiled import PYTHON, is_cached


@pytest.fixture(scope="session")
def make_compiled(make_zip: Callable[..., Path]) -> Callable[..., Path]:
    """Build a zip of compiled packages; skip if they are not in the cache."""

    def make(python: str = PYTHON, model: str = "", labels: str = "", **options: Any) -> Path:
        if not is_cached(python):
            pytest.skip(f"not compiled for Python {python}")
        return make_zip(python, model, labels, "local", **options)

    return make
