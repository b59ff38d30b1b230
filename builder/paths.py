"""Where things are: the checkout's own folders, and what the build keeps between runs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ACTION = ROOT / "action"
BUILDER = ROOT / "builder"
MODELS = ROOT / "model"

BUILD = ROOT / "build"
DOWNLOADS = BUILD / "downloads"
RUNTIMES = BUILD / "runtimes"
DEFLATED = BUILD / "deflated"
LOCAL = BUILD / "local"
"""Per Python version the last zip that passed, unpacked, for `python -m action`."""

DIST = ROOT / "dist"
ZIP = DIST / "classify.zip"
