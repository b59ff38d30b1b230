"""Name the checkout's folders, and the folders that a build writes and keeps."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ACTION = ROOT / "action"
BUILDER = ROOT / "builder"
# The picture that models and finished zips are tried on.
SAMPLE = BUILDER / "artifact" / "sample" / "espresso.jpg"

# The variable through which `--work DIR` reaches the processes of a build.
WORK_VARIABLE = "CLASSIFY_WORK"
_MOVED = os.environ.get(WORK_VARIABLE)
# Builds write below this folder, and into the user's cache unless --work moves that here too.
WORK = Path(_MOVED).resolve() if _MOVED else ROOT
BUILD = WORK / "build"
DOWNLOADS = BUILD / "downloads"
_XDG_CACHE = os.environ.get("XDG_CACHE_HOME", "")
# The XDG Base Directory Specification: relative paths are to be ignored.
_CACHE_HOME = _XDG_CACHE if os.path.isabs(_XDG_CACHE) else os.path.expanduser("~/.cache")
_CACHE = Path(_CACHE_HOME, "classify-zip")
# Compiled packages by a hash of their recipe, shared by the user's checkouts.
COMPILED = WORK / "compiled" if _MOVED else _CACHE
# Virtual environments by a hash of their contents, shared by the user's checkouts.
ENVIRONMENTS = BUILD if _MOVED else _CACHE / "environments"
