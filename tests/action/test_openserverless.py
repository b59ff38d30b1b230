"""The zip as Apache OpenServerless runs it: as nobody, beside older packages of its image."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from tests.conftest import HERE, base64_of

NOBODY = 65534


@pytest.fixture
def image() -> Iterator[Path]:
    """Return a folder with a `python` that nobody runs, and `site-packages` that it sees.

    These have a numpy and a Pillow that cannot be imported.
    """
    tools = [shutil.which(name) for name in ("unshare", "mount", "setpriv")]
    if os.geteuid() or None in tools:
        pytest.skip("becoming nobody takes root, unshare, mount and setpriv")
    unshare, mount, setpriv = (shlex.quote(tool) for tool in tools if tool)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        (folder / "prefix").mkdir()
        for package in ("numpy", "PIL"):
            module = folder / "site-packages" / package / "__init__.py"
            module.parent.mkdir(parents=True)
            module.write_text("raise ImportError('an older version, from the image')")
        script = folder / "python"
        script.write_text(
            f"""#!/bin/sh
set -e
test $$ = 1 || exec {unshare} --mount --pid --fork --kill-child {script} "$@"
{mount} --bind {shlex.quote(sys.base_prefix)} {folder}/prefix
export PYTHONPATH={folder}/site-packages
exec {setpriv} --reuid {NOBODY} --regid {NOBODY} --clear-groups \\
    {folder}/prefix/bin/python{HERE} "$@"
"""
        )
        script.chmod(0o755)
        yield folder


@pytest.mark.root
@pytest.mark.parametrize("home", ["/tmp", "/", "/root"])  # nobody can write the first one only
@pytest.mark.parametrize("precompiled", [False, True], ids=["portable", "precompiled"])
def test_nobody_is_answered_by_the_zips_own_packages(
    zip_path: Path, precompiled_path: Path, image: Path, precompiled: bool, home: str
) -> None:
    folder = image / "action"
    actionloop.unpack_zip(precompiled_path if precompiled else zip_path, folder)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    running = actionloop.RunningAction(folder, str(image / "python"), {"HOME": home}, False)
    try:
        answer = running.run({"image": base64_of(SAMPLE)})
        assert answer["results"][0]["className"] == "espresso", running.log()
    finally:
        running.close()
