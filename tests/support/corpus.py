"""Inputs to begin fuzzing with: pictures and parameters."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import base64_of
from tests.support import hostile


def write_corpus(folder: Path, largest: int) -> None:
    """Write pictures and parameters into a new folder, none larger than this."""
    folder.mkdir()
    pictures = {kind: hostile.small_picture(kind) for kind in hostile.KINDS}
    pictures |= {f"{kind}, frames": hostile.frames(kind, 4) for kind in ("GIF", "PNG", "WebP")}
    pictures |= {name: content for name, content in hostile.bombs() if len(content) <= largest}
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
    image = base64_of(pictures["GIF"])
    for number, params in enumerate((
        {"image": image, "topK": 2, "threshold": 0.1, "details": True},
        {"images": [image, f"data:image/gif;base64,{image}", "*", 7]},
        {"image": image.replace("/", "_").replace("+", "-"), "__ow_path": "", "other": None},
        {"image": image.replace("+", " ")},
    )):  # fmt: skip
        (folder / f"params {number}").write_text(json.dumps(params))
