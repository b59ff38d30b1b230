"""Inputs to begin fuzzing with: pictures, parameters, and words of their formats."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import base64_of
from tests.support import hostile

WORDS = (
    *(b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"iCCP", b"zTXt"),
    *(b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"RIFF", b"\xff\xc0", b"\xff\xc2"),
    *(b"\xff\xda", b"\xff\xd9", b"\xff\xdd", b"\xff\xe1", b"Exif\0\0", b"II*\0", b"MM\0*"),
    *(b"!\xf9\x04", b"!\xfe", b"!\xff\x0bNETSCAPE2.0", b"\x28\0\0\0", b"\xff\xff\xff\xff"),
    *(b'"image"', b'"images"', b'"topK"', b'"threshold"', b'"details"', b"data:image/png;base64,"),
)


def write_dictionary(path: Path) -> None:
    """Write WORDS for libFuzzer."""
    lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in WORDS]
    path.write_text("".join(f'"{line}"\n' for line in lines))


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
