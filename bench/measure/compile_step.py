"""Imitates the stock image's compile step: `compile_step.py SOURCE DESTINATION LAUNCHER`.

A fresh Python with `site` imports what that step imports (virtualenv takes nearly all of its time),
renames `__main__.py`, adds the launcher, moves the folder, then finds and parses the module.
Omitted: installing a requirements.txt, and the shell script that starts the launcher.
"""

import ast
import importlib.util
import shutil
import subprocess  # noqa: F401 (the stock step imports it)
import sys
import traceback  # noqa: F401 (the same)
from pathlib import Path

import virtualenv  # type: ignore[import-not-found]  # noqa: F401 (the same)

source, destination, launcher = map(Path, sys.argv[1:])
(source / "__main__.py").rename(source / "main__.py")
(source / "exec__.py").write_bytes(launcher.read_bytes())
shutil.move(source, destination)
sys.path.append(str(destination))
module = importlib.util.find_spec("main__")
assert module
assert module.origin
ast.parse(Path(module.origin).read_text("utf-8"))
