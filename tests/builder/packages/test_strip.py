"""Wheels without the files that do not ship and the libraries that the function never calls."""

from __future__ import annotations

import ast
import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.archive import read_zip
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.paths import ACTION, DOWNLOADS
from builder.packages import DEFAULT_OPTIONS, Runtime, elf_editor, prune, strip, wheels
from tests.conftest import HERE, interpreter
from tests.support import hostile
from tests.support.compiled import run_with_zip
from tests.support.models import ColourModel, DenseModel
from tests.support.pictures import encoded, plain, small_pictures

DRIVE = """\
import json, sys
from pathlib import Path
called = set()
sys.setprofile(lambda frame, event, argument: called.add(frame.f_code.co_name))
from action.classifier import Classifier
from action.picture import decode
from action.request import Options
folder = Path(sys.argv[1]).parent
answers = 0
for settings in json.loads((folder / "settings.json").read_text()):
    model = Classifier(settings, str(folder / settings["file"]))
    for picture in sorted(folder.glob("*.picture")):
        try:
            pixels = decode(picture.read_bytes(), model.width, model.height, model.channels, 0.875)
        except Exception as error:
            assert type(error).__module__ == "action.request", error
            continue
        answers += len(model.rank(pixels.pixels, Options(2, 0.0, True, 3)))
    json.dumps(model.describe())
sys.setprofile(None)
print(json.dumps([answers, sorted(called)]))
"""


@pytest.fixture(scope="module")
def runtime(console: Console) -> Runtime:
    return wheels.provide(HERE, DEFAULT_OPTIONS, console)


def strip_again(package: str, folder: Path, **changes: Any) -> None:
    """Strip a wheel by rules of which some are changed."""
    [pin] = [each for each in wheels.pinned(HERE) if each.name == package]
    with zipfile.ZipFile(DOWNLOADS / pin.file) as wheel:
        shipped = prune.select_shipped(package, wheel.namelist())
        wheel.extractall(folder, shipped)
        strip.strip_wheel(wheel, shipped, folder, {**prune.read_rules(package), **changes})


def write_inputs(folder: Path) -> None:
    """Write models with their settings, and pictures good and bad."""
    networks: list[tuple[DenseModel, str, str]] = [
        (DenseModel(dtype, layout=layout, head=head), layout, "softmax" if head == "logits" else "")
        for dtype in ("uint8", "int8", "float32", "float16")
        for layout, head in (("nhwc", "logits"), ("nchw", "softmax"), ("nhwc", "sigmoid"))
    ]
    networks += [(DenseModel(outputs=1, head="logits"), "nhwc", "sigmoid")]
    networks += [(ColourModel(dtype, channels=1), "nhwc", "") for dtype in ("uint8", "float32")]
    settings = []
    for number, (network, layout, activation) in enumerate(networks):
        network.write(folder / f"{number}.tflite")
        means = [0.0] if number % 2 else [1.0, 2.0, 3.0][: network.channels]
        labels = [f"class {label}" for label in range(3 if network.channels == 3 else 2)]
        settings.append(
            {
                "name": "m",
                "file": f"{number}.tflite",
                "crop": 0.875,
                "layout": layout,
                "size": [8, 8, network.channels],
                "mean": means,
                "std": [127.5],
                "activation": activation,
                "labels": labels,
            }
        )
    (folder / "settings.json").write_text(json.dumps(settings))
    deep = encoded(plain("#345", mode="L").convert("I;16"))
    broken = [content for _, content in hostile.bombs() if len(content) < 50_000]
    for number, content in enumerate([SAMPLE.read_bytes(), deep, *small_pictures(), *broken]):
        (folder / f"{number}.picture").write_bytes(content)


def functions_with_numpy() -> Iterator[str]:
    """Yield the names of the function's functions and methods that use numpy."""
    for path in (ACTION / "classifier.py", ACTION / "picture.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = [inner for line in node.body for inner in ast.walk(line)]
                if any(isinstance(each, ast.Name) and each.id == "np" for each in body):
                    yield node.name


def test_zip_is_small_and_loads_only_what_it_has(wheels_path: Path) -> None:
    assert wheels_path.stat().st_size < 15_000_000
    files = read_zip(wheels_path).files
    needed = {
        name
        for path, content in files.items()
        if ".so" in path
        for name in elf_editor.list_needed(content)
    }
    gone = ("openblas", "gfortran", "quadmath", "tiff", "openjp2", "zstd", "lzma", "xcb", "lcms")
    for name in {*needed, *files}:
        assert not any(part in name for part in gone), name


def test_every_symbol_is_found_and_a_call_to_a_dropped_library_ends_the_process(
    wheels_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bin"
    actionloop.unpack_zip(wheels_path, folder)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from action.bootstrap import install_importer; install_importer(sys.argv[1])\n"
        "import numpy; from PIL import Image, _webp; print('loaded', flush=True)\n"
        "vector = numpy.arange(4.0); vector @ vector; print('multiplied')"
    )
    done = subprocess.run(
        [interpreter(), "-ISBc", code, str(folder)],
        capture_output=True,
        text=True,
        env={"LD_BIND_NOW": "1"},
    )
    assert (done.returncode, done.stdout) == (-6, "loaded\n"), done.stderr  # SIGABRT


def test_every_path_of_the_function_runs_without_the_dropped_libraries(
    wheels_path: Path, tmp_path: Path
) -> None:
    write_inputs(tmp_path)
    output = run_with_zip(wheels_path, HERE, DRIVE, tmp_path / "bin")
    answers, called = json.loads(output.splitlines()[-1])
    assert answers > 1000
    assert {*functions_with_numpy()} - {*called} == set()


def test_an_unexpected_caller_stops_the_build(console: Console, tmp_path: Path) -> None:
    wheels.provide(HERE, DEFAULT_OPTIONS, console)
    with pytest.raises(
        BuildError, match=r"cblas_matrixproduct calls scipy_cblas_c\w+, but lib\S+ does"
    ):
        strip_again("numpy", tmp_path, callers=["*gemv", "*dot*", "*mat*l*"])
    with pytest.raises(BuildError, match="ImagingTiffVersion calls TIFFGetVersion"):
        strip_again("pillow", tmp_path, replacements={"opj_version": "zlibVersion"})
    with pytest.raises(BuildError, match="inflateCopy, is not used so far"):
        strip_again("pillow", tmp_path, replacements=dict.fromkeys(
            ("TIFFGetVersion", "opj_version"), "inflateCopy"
        ))  # fmt: skip


def test_a_stored_address_cannot_be_told_from_a_call(runtime: Runtime) -> None:
    path = next(path for path in runtime.owner if "_imaging." in path)
    content = (runtime.folder / path).read_bytes()
    with pytest.raises(ValueError, match="the address of PyExc_ValueError is stored"):
        elf_editor.find_callers(content, {"PyExc_ValueError"})
    with pytest.raises(ValueError, match="not an ELF library"):
        elf_editor.list_needed(b"PK")
