"""The compiled Pillow decodes every supported format; what was left out says so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.paths import ROOT
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.conftest import base64_of, encoded, interpreter, plain
from tests.support.compiled import PYTHON, needs_compiled, run_with_zip

Make = Callable[..., Path]
pytestmark = needs_compiled


def test_webp_decodes_as_the_same_pixels_in_png(tmp_path: Path) -> None:
    """WebP is scaled while it is decoded: the pixels may differ by a few grey levels."""
    sample = Image.open(SAMPLE).convert("RGB").resize((2400, 1600))
    clear = sample.copy()
    clear.putalpha(Image.linear_gradient("L").resize(sample.size))
    frames = {"save_all": True, "append_images": [plain("blue", sample.size)], "quality": 95}
    pictures: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("lossless", sample, {"lossless": True, "method": 0}),
        ("lossy", sample, {"quality": 95}),
        ("transparent", clear, {"quality": 95}),
        ("transparent, lossless", clear, {"lossless": True, "method": 0}),
        ("small", sample.resize((240, 160)), {"lossless": True}),
        ("animated", sample, frames),
    )
    for name, picture, options in pictures:
        (tmp_path / f"{name}.webp").write_bytes(encoded(picture, "WebP", **options))
        picture.save(tmp_path / f"{name}.png", compress_level=1)
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from action.picture import decode\n"
        "for path in Path(sys.argv[1]).glob('*.webp'):\n"
        "    one, two = (decode(path.with_suffix(kind).read_bytes(), 224, 224, 3, 0.875)\n"
        "                for kind in ('.webp', '.png'))\n"
        "    off = np.abs(one.pixels.astype(int) - two.pixels)\n"
        "    assert (one.width, one.height) == (two.width, two.height)\n"
        "    print(path.stem, off.max(), off.mean().round(2), sep=':')\n"
    )
    packages = compiled.cache_folder(PYTHON, DEFAULT_OPTIONS)
    done = subprocess.run(
        [interpreter(PYTHON), "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(packages)},
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    lines = [line.split(":") for line in done.stdout.splitlines()]
    assert len(lines) == len(pictures)
    for name, most, mean in lines:
        assert int(most) <= (0 if name == "small" else 6), done.stdout
        assert float(mean) <= 1, done.stdout


def test_every_supported_format_decodes(make_compiled: Make, imagenet_model: str) -> None:
    picture = Image.open(SAMPLE)
    with actionloop.start_action(
        make_compiled(PYTHON, imagenet_model), interpreter(PYTHON)
    ) as running:
        for kind in ("JPEG", "PNG", "WebP", "GIF", "BMP"):
            answer = running.run({"image": base64_of(encoded(picture, kind)), "details": True})
            assert answer["results"][0]["className"] == "espresso", kind
            assert answer["details"]["image"]["format"] == kind
        progressive = encoded(picture, "JPEG", progressive=True)
        assert running.run({"image": base64_of(progressive)})["results"]
        cmyk = encoded(picture.convert("CMYK"), "JPEG")
        assert running.run({"image": base64_of(cmyk)})["results"]


PILLOW = """
import io
from PIL import Image, JpegImagePlugin
image = Image.new("RGB", (40, 30), "#336699")
for work in (lambda: image.save(io.BytesIO(), "JPEG"), lambda: image.rotate(30)):
    try: work()
    except RuntimeError as error: print(error)
"""


def test_missing_features_give_the_reason(
    make_compiled: Make, imagenet_model: str, tmp_path: Path
) -> None:
    output = run_with_zip(make_compiled(PYTHON, imagenet_model), PYTHON, PILLOW, tmp_path)
    assert output.count("left out of this build of Pillow") == 2


def test_decoders_check_their_stack_and_bounds() -> None:
    folder = compiled.cache_folder(PYTHON, DEFAULT_OPTIONS) / "PIL"
    for module in ("_imaging", "_webp"):
        content = next(folder.glob(f"{module}.*.so")).read_bytes()
        assert b"\0__stack_chk_fail\0" in content
        assert b"\0__memcpy_chk\0" in content or b"\0__memset_chk\0" in content
