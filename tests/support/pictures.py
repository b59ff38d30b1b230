"""Pictures that tests make; needs nothing but Pillow."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as a file's bytes."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def plain(colour: str, size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """A picture of one colour."""
    return Image.new(mode, size, colour)
