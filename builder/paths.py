"""Where things are: the checkout's own folders, and what the build keeps between runs."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ACTION = ROOT / "action"
BUILDER = ROOT / "builder"
MODELS = ROOT / "model"

BUILD = ROOT / "build"
DOWNLOADS = BUILD / "downloads"
RUNTIMES = BUILD / "runtimes"
DEFLATED = BUILD / "deflated"
REQUANTIZED = BUILD / "requantized"
COMPILED = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "classify-zip")
"""Finished compiled runtimes, by a hash of their recipe: for all checkouts of this user."""
LOCAL = BUILD / "local"
"""Per Python version the last zip that passed, unpacked, for `python -m action`."""

DIST = ROOT / "dist"
ZIP = DIST / "classify.zip"
