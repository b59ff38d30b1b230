"""`python3 -m tools.caches`, in folders of the tests' own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from builder.base.paths import ROOT


def run(work: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.caches", *arguments],
        cwd=ROOT,
        env={**os.environ, "CLASSIFY_WORK": str(work)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_caches_are_listed_by_kind_and_cleared(tmp_path: Path) -> None:
    kept = tmp_path / "dist" / "classify.zip"
    model = tmp_path / "model" / "mobilenet.tflite"
    config = tmp_path / "build" / "tests-0123456789ab" / "pyvenv.cfg"
    packages = tmp_path / "compiled" / "classifier-0123456789ab" / "numpy.so"
    for path, size in ((kept, 1), (model, 2_000_000), (config, 3_000_000), (packages, 4_000_000)):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(size))
    rows = [line.split(maxsplit=2) for line in run(tmp_path)]
    sizes = {kind: size for size, _, kind in rows}
    assert sizes["virtual environments"] == "3.0"
    assert sizes["compiled packages"] == "4.0"
    assert sizes["downloaded models"] == "2.0"
    assert sizes["in all"] == "9.0"
    assert f"removed {packages.parent}" in "\n".join(run(tmp_path, "--clear"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
