"""What the stock image's compile step does, in our words: `compile_step.py SOURCE TARGET LAUNCHER`.

A fresh Python with `site` imports what that step imports (virtualenv is nearly all of its time),
renames `__main__.py`, writes the launcher beside it, moves the folder, and finds and parses the
module. What only some zips need (installing a requirements.txt) is left out, and so is the shell
script that it writes to start the launcher.
"""

import ast
import importlib.util
import shutil
import subprocess  # noqa: F401 (the stock step imports it)
import sys
import traceback  # noqa: F401 (the same)
from pathlib import Path

import virtualenv  # type: ignore[import-not-found]  # noqa: F401 (the same)

source, target, launcher = map(Path, sys.argv[1:])
(source / "__main__.py").rename(source / "main__.py")
(source / "exec__.py").write_bytes(launcher.read_bytes())
shutil.move(source, target)
sys.path.append(str(target))
module = importlib.util.find_spec("main__")
assert module
assert module.origin
ast.parse(Path(module.origin).read_text("utf-8"))
