"""Our zips as peers, built as build_zip.py builds them."""

from __future__ import annotations

import re
from pathlib import Path

from bench.peers.hello import KIND
from bench.peers.peer import PYTHON, ZIPS, Peer, find_python
from bench.results import PeerInfo
from builder import build
from builder.artifact import platform
from builder.base.console import Console
from builder.model.resolve import Model
from builder.packages import DEFAULT_OPTIONS
from builder.packages.providers import PROVIDERS

OURS = "this zip"
PRECOMPILED = f"{OURS}, precompiled"
WHEELS = f"{OURS}, wheels"

# Builds print only warnings.
QUIET = Console(quiet=True)


def build_ours(name: str, model: Model) -> Peer:
    """Build one of our zips.

    Args:
        name: OURS, PRECOMPILED (past the compile step of the stock image) or WHEELS (from
            ready-made wheels).
        model: the model.
    """
    output = ZIPS / f"{re.sub('[^a-z0-9]+', '-', name)}.zip"
    config = build.BuildConfig(
        (PYTHON,),
        output,
        model=str(model.path),
        provider="wheels" if name == WHEELS else "auto",
        execution_env=platform.execution_env(KIND) if name == PRECOMPILED else "",
        smoke=False,
        keep=False,
    )
    parts = build.build(config, QUIET).audit.components
    versions = {part.name: part.version for part in parts if part.version}
    return Peer(name, output, find_python().path, PeerInfo(versions=versions))


def find_packages() -> Path:
    """Return the folder with the interpreter and numpy that OURS and PRECOMPILED have."""
    return PROVIDERS["auto"](PYTHON, DEFAULT_OPTIONS, QUIET).folder
