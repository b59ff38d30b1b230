"""Hello world: the smallest action, the unit of cold starts; and the stock image's Python."""

from __future__ import annotations

import zipfile
from pathlib import Path

from bench.peers.peer import PYTHON, ZIPS, Peer, find_python
from builder.artifact import actionloop, platform
from builder.base.environments import ensure_environment
from builder.base.files import atomic_write

HELLO_WORLD = "hello world"
HELLO_PRECOMPILED = "hello, precompiled"
SOURCE = 'def main(params): return {"greeting": "Hello"}\n'
KIND = f"python:{PYTHON}"


def build_hello_world(precompiled: bool = False) -> Peer:
    """Build hello world; precompiled, with the files that the runtime's compile step would write.

    That step also writes a shell script that compares the image's name. Here `exec` is the launcher
    itself.
    """
    ZIPS.mkdir(parents=True, exist_ok=True)
    output = ZIPS / ("hello-precompiled.zip" if precompiled else "hello.zip")
    with atomic_write(output) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        if precompiled:
            archive.writestr("main__.py", SOURCE)
            start = zipfile.ZipInfo("exec")
            start.external_attr = 0o100755 << 16
            archive.writestr(start, "#!/usr/local/bin/python\n" + actionloop.LAUNCHER)
            archive.writestr("exec.env", platform.execution_env(KIND))
        else:
            archive.writestr("__main__.py", SOURCE)
    name = HELLO_PRECOMPILED if precompiled else HELLO_WORLD
    return Peer(name, output, find_python().path)


def stock_image_python() -> str:
    """Return a CPython with what the stock image has installed: virtualenv, and no numpy."""
    return str(
        ensure_environment("image", Path(__file__).with_name("image.txt"), find_python().path)
    )
