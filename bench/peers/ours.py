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
from builder.model.resolve import Model, ModelOptions

OURS = "this zip"
PRECOMPILED = f"{OURS}, precompiled"
WHEELS = f"{OURS}, wheels"
UINT8 = f"{OURS}, uint8"
INTERPRETERS = ("tflite-runtime", "ai-edge-litert")


def build_ours(
    name: str, model: Model, console: Console, labels: Path | None, provider: str
) -> Peer:
    """Build one of our zips.

    Args:
        name: OURS, PRECOMPILED (past the compile step of the stock image), WHEELS (from ready-made
            wheels) or UINT8 (with the model's own uint8 weights).
        model: the model.
        console: shows the build.
        labels: file with class names, where the model needs one.
        provider: the provider of the native packages, but for WHEELS.
    """
    output = ZIPS / f"{re.sub('[^a-z0-9]+', '-', name)}.zip"
    config = build.BuildConfig(
        (PYTHON,),
        output,
        model=str(model.path),
        model_options=ModelOptions(labels=labels),
        requantize=name != UINT8,
        provider="wheels" if name == WHEELS else provider,
        execution_env=platform.execution_env(KIND) if name == PRECOMPILED else "",
        smoke=False,
        keep=False,
    )
    parts = build.build(config, console).audit.components
    versions = {part.name: part.version for part in parts if part.version}
    [interpreter] = [package for package in INTERPRETERS if package in versions]
    info = PeerInfo(True, name == UINT8, interpreter=interpreter, versions=versions)
    return Peer(name, output, find_python().path, info)
