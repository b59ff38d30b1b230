"""Pictures that tests make: plain ones, many small ones, large photos. Needs only Pillow."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from PIL import Image

from builder.base.paths import BUILDER

SAMPLE = BUILDER / "artifact" / "sample" / "espresso.jpg"
# The largest picture that fits a request of 1 MiB, in bytes.
MAX_BYTES = 780_000


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def plain(colour: str, size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """Return a picture of one colour."""
    return Image.new(mode, size, colour)


def small_pictures() -> list[bytes]:
    """Return 40 valid pictures that vary in format, mode and size."""
    pictures = []
    for number in range(40):
        size = (20 + 37 * number % 400, 300 - 31 * number % 280)
        picture = Image.open(SAMPLE).resize(size)
        kind = ("JPEG", "PNG", "WebP", "GIF", "BMP")[number % 5]
        mode = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGBA", "P", "1", "LA")}.get(kind, ("RGB",))
        pictures.append(encoded(picture.convert(mode[number // 5 % len(mode)]), kind))
    return pictures


@cache
def large_pictures() -> list[tuple[str, bytes]]:
    """Return the largest pictures that fit a request, of most kinds, with their names."""
    sample = Image.open(SAMPLE)
    grain = Image.effect_noise((1000, 750), 30).convert("RGB")
    noisy = Image.blend(sample.resize((4000, 3000)), grain.resize((4000, 3000)), 0.15)
    drawing = sample.resize((500, 375)).quantize(8).resize((4000, 3000))
    rgb = drawing.convert("RGB")
    pictures = [
        ("12 MP JPEG", encoded(noisy, "JPEG", quality=60)),
        ("12 MP progressive JPEG", encoded(noisy, "JPEG", quality=60, progressive=True)),
        ("12 MP WebP", encoded(noisy, "WebP", quality=75, method=0)),
        ("12 MP PNG", encoded(rgb, "PNG")),
        ("12 MP PNG, transparent", encoded(drawing.convert("RGBA"), "PNG")),
        ("12 MP GIF", encoded(drawing, "GIF")),
        ("12 MP lossless WebP", encoded(rgb, "WebP", lossless=True, method=0)),
        ("BMP", encoded(sample.resize((580, 440)), "BMP")),
        ("noise in a PNG", encoded(grain.resize((4000, 3000)).resize((590, 440)), "PNG")),
    ]
    assert all(len(content) <= MAX_BYTES for _, content in pictures)
    return pictures
