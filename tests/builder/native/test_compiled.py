"""The compiled packages: small, as good as the wheels, and built well.

They are tested where they were compiled before by this recipe, by `build_zip.py --runtime local`
or `--runtime container`; compiling takes minutes, so the tests do not start it themselves.
"""

from __future__ import annotations

import ast
import json
import platform
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image, ImageOps

from builder import build
from builder.artifact import actionloop, audit
from builder.artifact.licences import LICENCES
from builder.artifact.sbom import SBOM
from builder.artifact.smoke import SAMPLE
from builder.base import cpython
from builder.base.archive import read_zip
from builder.base.console import Console
from builder.base.errors import BuildError, ModelError
from builder.base.paths import ROOT
from builder.model.preprocessing import Normalization
from builder.model.resolve import ModelOptions
from builder.native.pins import read_pins
from builder.packages import DEFAULT_OPTIONS, RuntimeOptions, compiled
from tests.conftest import (
    MOBILENET,
    PLUS_MINUS_ONE,
    PYTHONS,
    base64_of,
    encoded,
    interpreter,
    plain,
)
from tests.support.models import COLOURS, ColourModel, DenseModel, Graph, write_float_network

Make = Callable[..., Path]


def ready(python: str) -> bool:
    return compiled.is_cached(python, DEFAULT_OPTIONS)


PYTHON = next((python for python in ("3.11", *PYTHONS) if ready(python)), "")
needs_one = pytest.mark.skipif(
    not PYTHON, reason="nothing compiled: run  python build_zip.py --runtime local  first"
)


@pytest.fixture(scope="session")
def make_compiled(make_zip: Make) -> Make:
    """Builds a zip of compiled packages; skips where they were not compiled."""

    def make(
        python: str = PYTHON,
        model: str = "",
        labels: str = "",
        requantize: bool = True,
        normalization: Normalization | None = None,
    ) -> Path:
        for version in python.split(","):
            if not ready(version):
                pytest.skip(f"not compiled for Python {version}")
        return make_zip(
            python, model, labels, "local", requantize=requantize, normalization=normalization
        )

    return make


@pytest.fixture(scope="module")
def pictures(thorough: bool) -> list[str]:
    """The labelled pictures, or a quarter of them; without them variants of the sample.

    As PNG of a size whose central crop needs no resizing: two versions of Pillow differ by a grey
    level here and there, and it is the interpreters that are compared.
    """
    folder = ROOT.parent / "shared" / "images"
    files = sorted(folder.glob("*.JPEG"))
    if files:
        some = files if thorough else files[::4]
        shown = (ImageOps.fit(Image.open(file).convert("RGB"), (256, 256)) for file in some)
        return [base64_of(encoded(picture)) for picture in shown]
    sample = Image.open(SAMPLE)
    turned = (ImageOps.fit(sample.rotate(9 * n), (256, 256)) for n in range(40))
    return [base64_of(encoded(picture)) for picture in turned]


@needs_one
@pytest.mark.parametrize("python", PYTHONS)
def test_size(make_compiled: Make, imagenet_model: str, python: str) -> None:
    """The zip and its parts, in bytes as they are in the zip."""
    archive = make_compiled(python, imagenet_model)
    report = audit.audit_zip(archive)
    assert report.problems == []
    packed = {part.name: part.packed for part in report.components}
    model = packed[next(name for name in packed if name.startswith("model "))]
    assert report.bytes - model <= 2_050_000  # numpy 2.5 is larger than 2.4
    assert packed["tflite-runtime"] <= 700_000
    assert packed["pillow"] <= 450_000
    assert packed["numpy"] <= 820_000
    assert sum(part.files for part in report.components) <= 36  # of which the platform unpacks 8
    if Path(imagenet_model) == MOBILENET:
        assert report.bytes <= 5_000_000
        assert sum(part.unpacked for part in report.components) <= 10_000_000


@needs_one
@pytest.mark.parametrize("python", PYTHONS)
def test_every_python(make_compiled: Make, imagenet_model: str, python: str) -> None:
    with actionloop.start_action(
        make_compiled(python, imagenet_model), interpreter(python)
    ) as running:
        answer = running.run({"image": base64_of(SAMPLE), "details": True})
    assert answer["results"][0]["className"] == "espresso"
    assert answer["details"]["model"]["interpreter"] == "tflite_runtime"


@needs_one
def test_three_pythons_in_one_zip(make_compiled: Make, imagenet_model: str) -> None:
    three = ("3.10", "3.11", "3.12")
    archive = make_compiled(",".join(three), imagenet_model)
    for python in three:
        with actionloop.start_action(archive, interpreter(python)) as running:
            answer = running.run({"image": base64_of(SAMPLE), "details": True})
        assert answer["results"][0]["className"] == "espresso"
        assert answer["details"]["python"].startswith(python)


@needs_one
@pytest.mark.parametrize("model", ["mobilenet", "efficientnet_lite0"])
def test_same_top_5_as_the_wheels(
    make_zip: Make, make_compiled: Make, pictures: list[str], model: str
) -> None:
    if model == "mobilenet":
        if not MOBILENET.exists():
            pytest.skip("no MobileNet beside the checkout")
        model = str(MOBILENET)
    answers = []
    for archive in (make_zip(PYTHON, model, provider="wheels"), make_compiled(PYTHON, model)):
        with actionloop.start_action(archive, interpreter(PYTHON)) as running:
            answers.append([running.run({"image": image, "topK": 5}) for image in pictures])
    same = sum(top_5(a) == top_5(b) for a, b in zip(*answers, strict=True))
    assert same >= 0.99 * len(pictures), f"{same} of {len(pictures)}"


def top_5(answer: dict[str, Any]) -> set[str]:
    """The five best classes; where several share the fifth place, all but those."""
    scores = sorted(answer["results"], key=lambda result: -result["probability"])
    last = scores[-1]["probability"]
    return {result["className"] for result in scores if result["probability"] > last}


@needs_one
def test_webp_is_scaled_while_it_is_decoded(tmp_path: Path) -> None:
    """To what the same pixels give as a PNG, within a few grey levels; so are frames and alpha."""
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
    packages = compiled.local(PYTHON, DEFAULT_OPTIONS, Console(quiet=True)).folder
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


@needs_one
def test_a_float_network_agrees_with_the_wheels(
    make_zip: Make, make_compiled: Make, tmp_path: Path
) -> None:
    model = str(write_float_network(tmp_path / "network.tflite"))
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"class {letter}" for letter in "abcdefghij"))
    noise = np.random.default_rng(7)
    images = [
        base64_of(encoded(Image.fromarray(noise.integers(0, 256, (48, 48, 3), np.uint8))))
        for _ in range(20)
    ] + [base64_of(encoded(plain(colour))) for colour in ("red", "black", "white")]
    answers = []
    for archive in (
        make_zip(PYTHON, model, str(labels), "wheels", normalization=PLUS_MINUS_ONE),
        make_compiled(PYTHON, model, str(labels), normalization=PLUS_MINUS_ONE),
    ):
        with actionloop.start_action(archive, interpreter(PYTHON)) as running:
            answers.append([running.run({"image": image, "topK": 10}) for image in images])
    for one, other in zip(*answers, strict=True):
        scores = [{r["className"]: r["probability"] for r in a["results"]} for a in (one, other)]
        for name in scores[0]:
            assert scores[0][name] == pytest.approx(scores[1][name], abs=1e-3)


@needs_one
@pytest.mark.parametrize(
    ("model", "requantize"),
    [("mobilenet", True), ("mobilenet", False), ("efficientnet_lite0", True)],
)
def test_what_runs_on_xnnpack(make_compiled: Make, model: str, requantize: bool) -> None:
    """All but what XNNPACK's graphs have no node for: without the delegate it is slow."""
    if model == "mobilenet":
        if not MOBILENET.exists():
            pytest.skip("no MobileNet beside the checkout")
        model = str(MOBILENET)
    archive = make_compiled(PYTHON, model, requantize=requantize)
    with actionloop.start_action(archive, interpreter(PYTHON)) as running:
        answer = running.run({"image": base64_of(SAMPLE), "details": True})
    nodes = answer["details"]["model"]["nodes"]
    assert nodes["total"] == nodes["delegated"] + len(nodes["others"])
    assert nodes["delegated"] >= 30
    assert sorted(set(nodes["others"]) - {"SOFTMAX", "QUANTIZE"}) == []
    assert nodes["others"].count("SOFTMAX") <= 1


@needs_one
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_models_of_ones_own(
    make_compiled: Make, tmp_path: Path, colour_labels: Path, dtype: str
) -> None:
    model = str(ColourModel(dtype, softmax=True).write(tmp_path / "m.tflite"))
    said = PLUS_MINUS_ONE if dtype == "float32" else None  # the others' files say it
    with actionloop.start_action(
        make_compiled(PYTHON, model, str(colour_labels), normalization=said), interpreter(PYTHON)
    ) as running:
        for colour, name in zip(("#ff0000", "#00ff00", "#0000ff"), COLOURS, strict=True):
            answer = running.run({"image": base64_of(encoded(plain(colour)))})
            assert answer["results"][0]["className"] == name


@needs_one
def test_the_models_file_leaves_memory(make_compiled: Make, imagenet_model: str) -> None:
    """XNNPACK has copies of the weights; the file's own would be 4 MB for nothing."""
    with actionloop.start_action(
        make_compiled(model=imagenet_model), interpreter(PYTHON)
    ) as action:
        action.run({"image": base64_of(SAMPLE.read_bytes())})
        mapped = Path(f"/proc/{action.pid}/smaps").read_text()
    sizes = re.findall(r"\.tflite\n(?:.*\n){1,5}?Rss: +(\d+) kB", mapped)
    assert sizes, "the file is mapped, not read"
    assert sum(map(int, sizes)) < 500  # a page that is read brings its neighbours


@needs_one
def test_formats_that_are_offered(make_compiled: Make, imagenet_model: str) -> None:
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


@needs_one
def test_a_large_photo_may_be_baseline_only(make_compiled: Make, imagenet_model: str) -> None:
    """With this Pillow, too, a JPEG of 27 megapixels is told from one that needs 81 MB."""
    photo = plain("red", (6000, 4500))
    with actionloop.start_action(
        make_compiled(PYTHON, imagenet_model), interpreter(PYTHON)
    ) as running:
        baseline = running.run({"image": base64_of(encoded(photo, "JPEG"))})
        scans = running.run({"image": base64_of(encoded(photo, "JPEG", progressive=True))})
    assert len(baseline["results"]) == 3
    assert "expected at most 18.3 megapixels, found 6000 x 4500" in scans["error"]


@needs_one
def test_every_module_that_ships_imports(
    make_compiled: Make, imagenet_model: str, tmp_path: Path
) -> None:
    from tests.action.test_zip import assert_all_import

    assert_all_import(make_compiled(PYTHON, imagenet_model), PYTHON, tmp_path, 45)


def in_zip(archive: Path, python: str, code: str, folder: Path) -> str:
    """What code prints in a clean interpreter that uses a zip's packages, unpacked in `folder`."""
    actionloop.unpack_zip(archive, folder)
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "from action.bootstrap import install_importer; install_importer(sys.argv[1])\n" + code
    )
    done = subprocess.run(
        [interpreter(python), "-I", "-S", "-B", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        env={},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


NUMPY = """
import pickle, sys
import numpy as np
a = np.arange(12.0).reshape(3, 4)
assert (np.clip(a, 2, 9) == np.minimum(np.maximum(a, 2), 9)).all()
assert repr(a[:, :2]) == "array([[0., 1.],\\n       [4., 5.],\\n       [8., 9.]])"
assert str(np.float32(0.1)) == "0.1" and repr(np.uint8(7)) == "np.uint8(7)"
assert a.sum() == 66 and a.mean() == 5.5 and a.std() > 3 and a.max() == 11 and (a >= 0).all()
assert np.mean(a, where=a > 5) == 8.5
assert np.mean(a, axis=0, where=[[True], [False], [True]])[0] == 4
assert np.sort([3, 1, 2]).tolist() == [1, 2, 3] == np.array([9, 1, 2, 3])[[1, 2, 3]].tolist()
assert np.argsort([-1.5, -2.5, -1.5], kind="stable").tolist() == [1, 0, 2]
assert np.take([5, 6], [[1, 0]]).tolist() == [[6, 5]] and np.rint(2.5) == 2 and np.exp(0) == 1
assert np.iinfo(np.int8).min == -128 and np.finfo(np.float32).max > 3e38
assert np.finfo(np.longdouble).eps > 0 and np.isnan(np.nan) and np.inf > 0 and np.newaxis is None
assert (a @ a.T).shape == (3, 3) and np.einsum("ij->j", a).tolist() == [12, 15, 18, 21]
assert np.identity(2).tolist() == [[1, 0], [0, 1]] and np.linspace(0, 1, 3)[1] == 0.5
assert np.concat([a, a]).shape == np.vstack([a, a]).shape == (6, 4) and np.abs(-1) == np.pow(1, 2)
assert np.zeros((2,), np.bool).dtype == bool and np.ones_like(a).sum() == 12
assert np.full(2, 3)[1] == 3
types = np.dtype("f4"), np.dtype("u1,f4"), np.dtypes.Float64DType
for one in (a, np.float64(3), np.exp, *types):
    again = pickle.loads(pickle.dumps(one))
    assert np.array_equal(again, one) if one is a else again == one
assert pickle.loads(a.dumps()).shape == (3, 4)
assert np.array(["a", "b"]).tolist() == ["a", "b"] and np.array(["a"])[0] == "a"
assert str(np.datetime64("2024-02-29") + np.timedelta64(1, "D")) == "2024-03-01"
import datetime
assert np.datetime64(datetime.date(2024, 1, 1)).astype(object) == datetime.date(2024, 1, 1)
with np.errstate(divide="raise"):
    try: np.float64(1) / 0
    except FloatingPointError: pass
    else: raise AssertionError
structured = np.array([(1, 2.5)], dtype=[("x", "i4"), ("y", "f8")])
assert structured["y"][0] == 2.5 and np.asarray(memoryview(b"ab")).tolist() == [97, 98]
assert isinstance(np.int8(1), __import__("numbers").Integral)
assert a.__array_interface__["shape"] == (3, 4) and a.ctypes.data
try: a.reshape(5)
except ValueError as error: assert "cannot reshape" in str(error)
for name in ("pad", "linalg", "random", "no_such_name"):
    try: getattr(np, name)
    except AttributeError as error: print(error)
    else: raise AssertionError(name)
"""


@needs_one
@pytest.mark.parametrize("python", PYTHONS)
def test_numpy_is_whole_in_what_it_has(
    make_compiled: Make, imagenet_model: str, tmp_path: Path, python: str
) -> None:
    """Arrays behave as ever; what is left out says why."""
    said = in_zip(make_compiled(python, imagenet_model), python, NUMPY, tmp_path)
    version = read_pins(python)["numpy"].version
    reason = f"is not in this build of numpy {version}: it has arrays, data types and ufuncs only"
    assert said.splitlines() == [
        f"numpy.{name} {reason}" for name in ("pad", "linalg", "random", "no_such_name")
    ]


@needs_one
@pytest.mark.parametrize("python", PYTHONS)
def test_numpy_has_what_the_function_takes_of_it(
    make_compiled: Make, imagenet_model: str, tmp_path: Path, python: str
) -> None:
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "action").glob("*.py")]
    names = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "np"
    }
    assert {"array", "argsort", "uint8"} <= names
    lacking = f"import numpy\nprint([n for n in {sorted(names)} if not hasattr(numpy, n)])"
    assert in_zip(make_compiled(python, imagenet_model), python, lacking, tmp_path) == "[]\n"


@needs_one
def test_one_score_of_two_classes(make_compiled: Make, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("this\nother\n")
    want = DenseModel(head="sigmoid", outputs=1, seed=3)
    model = want.write(tmp_path / "m.tflite")
    archive = make_compiled(
        model=str(model), labels=str(labels), normalization=Normalization((0.0,), (255.0,))
    )
    red = np.zeros((8, 8, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    with actionloop.start_action(archive, interpreter(PYTHON)) as running:
        answer = running.run({"image": base64_of(encoded(Image.fromarray(red)))})
    scores = {each["className"]: each["probability"] for each in answer["results"]}
    assert [scores["this"], scores["other"]] == pytest.approx(want.answer(red), abs=1e-5)


PILLOW = """
import io, sys
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
image = Image.new("RGB", (40, 30), "#336699")
for work in (
    lambda: image.save(io.BytesIO(), "JPEG"),
    lambda: image.save(io.BytesIO(), "PNG"),
    lambda: image.save(io.BytesIO(), "WebP"),
    lambda: image.quantize(8),
    lambda: image.rotate(30),
    lambda: image.reduce(2),
):
    try: work()
    except RuntimeError as error: print(error)
    else: raise AssertionError
"""


@needs_one
def test_what_pillow_no_longer_does_says_so(
    make_compiled: Make, imagenet_model: str, tmp_path: Path
) -> None:
    said = in_zip(make_compiled(PYTHON, imagenet_model), PYTHON, PILLOW, tmp_path)
    assert said.count("left out of this build of Pillow") == 5
    assert said.splitlines()[2] == "failed to initialize config!"


@needs_one
@pytest.mark.parametrize("python", PYTHONS)
def test_what_the_start_imports(
    make_compiled: Make, imagenet_model: str, tmp_path: Path, python: str
) -> None:
    """Importing the packages costs few modules, and none of the expensive ones."""
    code = (
        "import numpy, tflite_runtime.interpreter;"
        "from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin;"
        "from PIL import PngImagePlugin, WebPImagePlugin;"
        "print(*(set(sys.modules) - before))"
    )
    loaded = in_zip(make_compiled(python, imagenet_model), python, code, tmp_path).split()
    assert len(loaded) < 95
    assert not {
        *("ast", "ctypes", "datetime", "decimal", "fractions", "inspect", "logging", "pickle"),
        *("platform", "random", "shutil", "subprocess", "tempfile", "typing"),
        *("PIL.ExifTags", "PIL.TiffTags", "numpy._core.numeric", "numpy._core.arrayprint"),
    } & set(loaded)


@needs_one
def test_an_operator_that_is_not_in(tmp_path: Path, console: Console, colour_labels: Path) -> None:
    graph = Graph()
    picture = graph.tensor((1, 8, 8, 3), "float32")
    floor = graph.operator("FLOOR", [picture], graph.tensor((1, 8, 8, 3), "float32"))
    scores = graph.tensor((1, 3), "float32")
    options = schema.ReducerOptionsT()
    graph.operator("MEAN", [floor, graph.integers(1, 2)], scores, options, version=2)
    model = tmp_path / "m.tflite"
    model.write_bytes(graph.file([picture], [scores]))
    config = build.BuildConfig(
        (PYTHON,),
        tmp_path / "a.zip",
        str(model),
        ModelOptions(colour_labels, PLUS_MINUS_ONE),
        provider="local",
        keep=False,
    )
    with pytest.raises(ModelError, match="lacks: FLOOR") as caught:
        build.build(config, console)
    assert "--ops all" in caught.value.hint
    assert not (tmp_path / "a.zip").exists()


@needs_one
def test_licences_of_all_that_is_linked_in(make_compiled: Make, imagenet_model: str) -> None:
    files = read_zip(make_compiled(PYTHON, imagenet_model)).files
    licences = files[LICENCES].decode()
    bom = json.loads(files[SBOM])
    linked = {
        inner["name"]
        for component in bom["components"]
        for inner in component.get("components", ())
    }
    assert linked >= {"xnnpack", "cpuinfo", "pthreadpool", "flatbuffers", "eigen3", "pybind11"}
    assert linked >= {"libjpeg-turbo", "zlib", "libwebp"}
    for name in linked:
        assert f"{name} " in licences
    assert "Mozilla Public License" in licences


def test_local_says_what_is_missing(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "is_cached", lambda *_: False)
    monkeypatch.setattr(cpython, "find_python", lambda version: None)
    with pytest.raises(BuildError, match=r"expected Python 3\.11 on this machine") as caught:
        compiled.local("3.11", DEFAULT_OPTIONS, console)
    assert "python3.11-dev" in caught.value.hint
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(BuildError, match="expected a Debian-like Linux on x86_64"):
        compiled.local("3.11", DEFAULT_OPTIONS, console)


def test_no_engine_answers(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "is_cached", lambda *_: False)
    monkeypatch.setattr(compiled, "ENGINES", {"docker": ["false"], "podman": ["no-such-program"]})
    with pytest.raises(BuildError, match="expected one of docker, podman to answer"):
        compiled.container("3.11", DEFAULT_OPTIONS, console)


def test_auto_without_engine_takes_wheels_and_says_so(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "is_cached", lambda *_: False)
    monkeypatch.setattr(compiled, "ENGINES", {})
    console.notes.clear()
    found = compiled.auto("3.11", DEFAULT_OPTIONS, console)
    assert {part.name for part in found.components} == {"ai-edge-litert", "numpy", "pillow"}
    assert any("no container engine answers" in note for note in console.notes)
    assert any("--runtime local" in note for note in console.notes)


def engine(folder: Path, script: str) -> str:
    """An executable of our own in the place of a container engine."""
    path = folder / "docker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_container_build_that_fails(
    console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last 30 lines and the name of the log; nothing that could pass for a runtime."""
    monkeypatch.setattr(compiled, "COMPILED", tmp_path / "runtimes")
    monkeypatch.setattr(compiled, "BUILD", tmp_path)
    path = engine(tmp_path, "seq 1 100; echo 'no such base image' >&2; exit 3")
    options = RuntimeOptions(engine=path)
    with pytest.raises(BuildError) as caught:
        compiled.container("3.11", options, console)
    lines = str(caught.value).splitlines()
    assert lines[-1] == "no such base image"
    assert lines[1:3] == ["72", "73"]
    log = Path(caught.value.hint.rpartition(" ")[2])
    assert log.read_text().splitlines()[0] == "1"
    assert not list((tmp_path / "runtimes").rglob("*.json"))


def test_engine_arguments_are_passed_on(
    console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiled, "COMPILED", tmp_path / "runtimes")
    monkeypatch.setattr(compiled, "BUILD", tmp_path)
    path = engine(tmp_path, 'for word; do echo "$word"; done; exit 1')
    options = RuntimeOptions("all", None, path, ("--no-cache", "--network=none"))
    with pytest.raises(BuildError) as caught:
        compiled.container("3.12", options, console)
    words = str(caught.value).splitlines()
    assert {"--no-cache", "--network=none", "PYTHON=3.12", "OPS=all"} <= set(words)
    assert any(word.startswith("type=local,dest=") for word in words)


@needs_one
def test_how_small_the_compiled_zip_is_against_pip(
    make_zip: Make, make_compiled: Make, imagenet_model: str
) -> None:
    compiled_size = make_compiled(PYTHON, imagenet_model).stat().st_size
    wheels = make_zip(PYTHON, imagenet_model, provider="wheels")
    assert wheels.stat().st_size > 3.5 * compiled_size


@needs_one
def test_the_libraries_are_stripped_and_hold_no_debug_information(
    make_compiled: Make, imagenet_model: str
) -> None:
    files = read_zip(make_compiled(PYTHON, imagenet_model)).files
    libraries = {name: content for name, content in files.items() if name.endswith(".so")}
    assert libraries
    for name, content in libraries.items():
        assert b".debug_info" not in content, name
        assert b".symtab" not in content, name


def test_what_the_container_is_for(
    console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On any host the packages are for x86_64."""
    monkeypatch.setattr(compiled, "COMPILED", tmp_path / "runtimes")
    monkeypatch.setattr(compiled, "BUILD", tmp_path)
    path = engine(tmp_path, 'for word; do echo "$word"; done; exit 1')
    with pytest.raises(BuildError) as caught:
        compiled.container("3.12", RuntimeOptions(engine=path), console)
    words = str(caught.value).splitlines()
    assert words[words.index("--platform") + 1] == "linux/amd64"


def test_two_builds_compile_once(
    console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of two with a cold cache the second waits, says for what, and takes what the first made."""
    monkeypatch.setattr(compiled, "COMPILED", tmp_path / "runtimes")
    monkeypatch.setattr(compiled, "BUILD", tmp_path)
    monkeypatch.setattr(compiled, "_runtime", lambda python, target, origin: (target, origin))
    script = (
        f"echo ran >> {tmp_path}/ran\nfor word; do last=$word; case $word in type=*) out=$word;; "
        "esac; done\nfolder=${out#type=local,dest=}/cp312\nsleep 3\nmkdir $folder\n"
        "echo '{}' > $folder/recipe.json"
    )
    options = RuntimeOptions(engine=engine(tmp_path, script))
    made: list[Any] = []
    consoles = [Console(quiet=True), Console(quiet=True)]

    def build_one(mine: Console) -> None:
        made.append(compiled.container("3.12", options, mine))

    threads = [threading.Thread(target=build_one, args=[mine]) for mine in consoles]
    for thread in threads:
        thread.start()
        time.sleep(1)  # the first has said by then what it does
    for thread in threads:
        thread.join()
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert sorted(origin for _, origin in made)[0] == compiled.BEFORE
    assert (made[0][0] / "recipe.json").exists()
    notes = [note for mine in consoles for note in mine.notes]
    assert any(
        "waiting: process" in note and "is compiling in a container" in note for note in notes
    )
    assert [path.name for path in made[0][0].parent.iterdir()] == ["cp312"]


DENSE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from tflite_runtime.interpreter import Interpreter
model = Interpreter(sys.argv[2], num_threads=1)
model.allocate_tensors()
source, sink = model.get_input_details()[0], model.get_output_details()[0]
rows = np.frombuffer(open(sys.argv[3], "rb").read(), np.int8)
for row in rows.reshape(-1, source["shape"][1]):
    model.set_tensor(source["index"], row[np.newaxis])
    model.invoke()
    print(*model.get_tensor(sink["index"])[0].tolist())
"""


@needs_one
@pytest.mark.parametrize("version", [4, 11, 12])
def test_a_dense_layer_with_a_scale_per_channel(version: int, tmp_path: Path) -> None:
    """int8, as the 8-bit quantization specification says; whatever version the converter gives."""
    random = np.random.default_rng(12)
    fan, classes = 45, 7
    scales = random.uniform(0.002, 0.02, classes).astype(np.float32)
    weights = random.integers(-127, 128, (classes, fan), np.int8)
    offsets = random.integers(-4000, 4000, classes, np.int32)
    graph = Graph()
    source = graph.tensor((1, fan), "int8", 0.05, -3)
    matrix = graph.tensor((classes, fan), "int8", 1.0, 0, weights)
    bias = graph.tensor((classes,), "int32", 1.0, 0, offsets)
    for value, each in ((matrix, scales), (bias, scales * np.float32(0.05))):
        quantization = graph.tensors[value.number].quantization
        quantization.scale = each
        quantization.zeroPoint = np.zeros(classes, np.int64)
    output = graph.tensor((1, classes), "int8", 0.25, 4)
    options = schema.FullyConnectedOptionsT()
    graph.operator("FULLY_CONNECTED", [source, matrix, bias], output, options, version)
    path = tmp_path / "dense.tflite"
    path.write_bytes(graph.file([source], [output]))
    rows = random.integers(-128, 128, (20, fan), np.int8)
    (tmp_path / "rows").write_bytes(rows.tobytes())
    folder = compiled.cache_folder(PYTHON, DEFAULT_OPTIONS)
    done = subprocess.run(
        [interpreter(PYTHON), "-I", "-S", "-B", "-c", DENSE, str(folder), str(path)]
        + [str(tmp_path / "rows")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = np.array([line.split() for line in done.stdout.splitlines()], np.int64)
    sums = (rows.astype(np.int64) + 3) @ weights.T.astype(np.int64) + offsets
    real = sums * (scales.astype(np.float64) * np.float32(0.05))
    expected = np.clip(np.rint(real / 0.25) + 4, -128, 127)
    assert np.abs(answers - expected).max() <= 1  # kernels round by other steps
    assert (answers == expected).mean() > 0.95
    assert len(np.unique(expected)) > 40
