"""Where things are: the checkout's own folders, and what the build keeps between runs."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ACTION = ROOT / "action"
BUILDER = ROOT / "builder"
MODELS = ROOT / "model"
SAMPLE = BUILDER / "artifact" / "sample" / "espresso.jpg"
"""The picture that a finished zip is asked for."""

WORK_VARIABLE = "CLASSIFY_WORK"
"""How `--work DIR` reaches the processes of a build."""
_MOVED = os.environ.get(WORK_VARIABLE)
WORK = Path(_MOVED).resolve() if _MOVED else ROOT
"""What a build writes is below this folder; COMPILED, ENVIRONMENTS only where it was moved."""

BUILD = WORK / "build"
DOWNLOADS = BUILD / "downloads"
RUNTIMES = BUILD / "runtimes"
CODES = BUILD / "codes"
"""Byte-compiled modules."""
DEFLATED = BUILD / "deflated"
REQUANTIZED = BUILD / "requantized"
TRIMMED = BUILD / "trimmed"
"""Models without their last activation."""
LOCAL = BUILD / "local"
"""Per Python version the last zip that passed, unpacked, for `python -m action`."""
FETCHED = WORK / "model"
"""The catalogue's models, once they were fetched."""
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "classify-zip")
COMPILED = WORK / "compiled" if _MOVED else _CACHE
"""Finished compiled runtimes, by a hash of their recipe: for all checkouts of this user."""


def _is_writable(folder: Path) -> bool:
    """Whether it, or what it would be made in, lets itself be written."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


ENVIRONMENTS = BUILD if _MOVED or not _is_writable(_CACHE) else _CACHE / "environments"
"""Virtual environments, by a hash of what is in them: for all checkouts, too."""

DIST = WORK / "dist"
ZIP = DIST / "classify.zip"
