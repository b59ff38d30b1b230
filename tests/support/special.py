"""Paths that are not files: folders, pipes, devices and links to them."""

import os
from pathlib import Path

KINDS = ("folder", "pipe", "link to a device", "link to a folder", "broken link", "link loop")


def make_special(folder: Path, kind: str) -> Path:
    """Make one of these KINDS at `folder / "it"`."""
    path = folder / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        (folder / "target").mkdir()
        target = {
            "link to a device": Path(os.devnull),
            "link to a folder": folder / "target",
            "broken link": folder / "nothing",
            "link loop": path,
        }
        path.symlink_to(target[kind])
    return path
