"""Runs the commands that install and convert peers: pip, npm, tf2onnx."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from builder.base.errors import BuildError


def run_command(command: Sequence[str | Path], title: str, folder: Path | None = None) -> str:
    """Run a command in a folder; return its output. Raises BuildError if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        output = (done.stdout + done.stderr).strip()[-500:]
        raise BuildError(
            f"{title} failed: {output}",
            "check the network and the settings of pip and npm, then run this again",
        )
    return done.stdout
