"""A package index that pip is pointed at."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.index import PackageIndex, serving_index


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """Serve an empty index; the user's own settings of pip are gone."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    with serving_index() as served:
        settings = {"CONFIG_FILE": os.devnull, "INDEX_URL": served.url, "NO_CACHE_DIR": "1"}
        for name, value in {**settings, "RETRIES": "0"}.items():
            monkeypatch.setenv(f"PIP_{name}", value)
        yield served
