"""Our kernels: against plain C, and inside the interpreter against XNNPACK's own, bit by bit."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from builder.base import files
from builder.base.console import Console
from builder.base.paths import BUILD, ENVIRONMENTS
from builder.model import resolve
from builder.model.int8 import convert_to_int8
from builder.model.tflite import parse_model
from builder.native.recipe import digest
from builder.native.steps import HERE, Builder
from builder.native.variants import RECIPE, VARIANTS
from builder.native.xnnpack import check
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.conftest import MOBILENET, PYTHONS, interpreter
from tests.support.quantized import ACTIVATIONS, Network

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
NO_AVX2 = 77


def run(program: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([program], capture_output=True, text=True)
    if done.returncode == NO_AVX2:
        pytest.skip(done.stdout.strip())
    return done


@needs_gcc
def test_kernels_agree_with_plain_c_and_stay_in_bounds() -> None:
    gcc = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    # For all checkouts: sources that are the same are compiled once.
    folder = ENVIRONMENTS / f"kernels-{hashlib.sha256(gcc.encode()).hexdigest()[:12]}"
    with files.lock(folder, "compiling the kernels' tests", print):
        program = check.build(Builder(folder, 1))
        done = run(program)
    assert done.stderr == ""
    assert "\n0 of " in f"\n{done.stdout}"
    assert done.returncode == 0


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """A folder where what one break leaves as it is needs no compiling for the next."""
    return Builder(tmp_path_factory.mktemp("kernels"), 1)


GEMM = "qs8-qc8w-gemm-c4-maddubs.c"
PACK = "qs8-qc8w-packw-c4-maddubs.c"
DWCONV = "qs8-qc8w-dwconv-madd.c"


BREAKS = [
    (PACK, "MM(set1_epi8)((char) 128)", "MM(set1_epi8)((char) 131)"),
    (PACK, "128 + params->input_zero_point", "127 + params->input_zero_point"),
    (GEMM, "in == rows->zero ? in : in + rows->offset", "in + rows->offset"),
    (GEMM, "_mm256_cmpeq_epi64(next, zero)", "_mm256_cmpeq_epi64(here, zero)"),
    (GEMM, "block.first == 0 ?", "true ?"),
    (DWCONV, "outputs == 2 ? column - 1", "outputs == 2 ? column"),
    (DWCONV, "widened(MM(unpackhi_epi8)(high, high))", "zeros()"),
    ("vector.h", "MM(adds_epi16)", "MM(add_epi16)"),
]


@needs_gcc
@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        pytest.param(*each, marks=pytest.mark.thorough if each[0] == before[0] else ())
        for before, each in zip([("",), *BREAKS], BREAKS, strict=False)
    ],
)
def test_a_broken_kernel_is_noticed(
    tmp_path: Path, compiled_once: Builder, file: str, right: str, wrong: str
) -> None:
    broken = tmp_path / "kernels"
    shutil.copytree(check.KERNELS, broken)
    source = (broken / file).read_text()
    assert source.count(right) >= 1
    (broken / file).write_text(source.replace(right, wrong))
    assert run(check.build(compiled_once, broken, sanitizers=False)).returncode != 0


def _of(python: str) -> Path:
    return BUILD / "variants" / f"cp{python.replace('.', '')}"


def _is_ready(python: str) -> bool:
    recipe = _of(python) / RECIPE
    made = recipe.exists() and recipe.read_text().strip() == digest(HERE)
    return made and compiled.is_cached(python, DEFAULT_OPTIONS)


PYTHON = next((python for python in ("3.11", *PYTHONS) if _is_ready(python)), "")
needs_variants = pytest.mark.skipif(
    not PYTHON,
    reason="nothing to compare: run  python build_zip.py --runtime local  and  "
    "python -m builder.native variants --build-dir build/native --out build/variants",
)

OUTPUTS = """
import hashlib, random, sys
sys.path[:0] = sys.argv[2:]
import numpy as np
from tflite_runtime.interpreter import Interpreter
for threads in (1, 2):
    model = Interpreter(sys.argv[1], num_threads=threads)
    model.allocate_tensors()
    source = model.get_input_details()[0]
    bytes_ = random.Random(2018)
    total = hashlib.sha256()
    for number in range(9):
        size = int(np.prod(source["shape"]))
        pixels = np.frombuffer(bytes_.randbytes(size), np.uint8).reshape(source["shape"])
        if number % 3 == 0:  # the extremes alone
            pixels = (pixels > 127).astype(np.uint8) * np.uint8(255)
        model.set_tensor(source["index"], pixels.view(source["dtype"]))
        model.invoke()
        for sink in model.get_output_details():
            total.update(model.get_tensor(sink["index"]).tobytes())
    print(total.hexdigest())
"""


def outputs(path: Path, variant: str) -> list[str]:
    """Hashes of a model's outputs for some inputs, with one thread and two; "" is what ships."""
    runtime = compiled.cache_folder(PYTHON, DEFAULT_OPTIONS)
    first = [str(_of(PYTHON) / variant)] if variant else []
    command = [interpreter(PYTHON), "-I", "-S", "-B", "-c", OUTPUTS, str(path)]
    done = subprocess.run([*command, *first, str(runtime)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def assert_same_bits(path: Path) -> None:
    found = {variant: outputs(path, variant) for variant in ("", *VARIANTS)}
    assert len(found[""]) == 2
    assert {bits for both in found.values() for bits in both} == {found["xnnpack"][0]}, found


def int8(content: bytes, path: Path) -> Path:
    converted = convert_to_int8(parse_model(content, path.name))
    path.write_bytes(converted.content if converted else content)
    return path


@needs_variants
def test_variants_are_modules_of_their_own() -> None:
    """A variant that is built like another would compare nothing."""
    folders = [_of(PYTHON) / name for name in VARIANTS] + [
        compiled.cache_folder(PYTHON, DEFAULT_OPTIONS)
    ]
    modules = [next((folder / "tflite_runtime").glob("*.so")) for folder in folders]
    assert len({module.read_bytes() for module in modules}) == 1 + len(VARIANTS)


@needs_variants
def test_mobilenet_gets_the_same_bits(tmp_path: Path) -> None:
    if not MOBILENET.exists():
        pytest.skip("MobileNet v1 is not here")
    assert_same_bits(int8(MOBILENET.read_bytes(), tmp_path / "int8.tflite"))


@needs_variants
def test_efficientnet_gets_the_same_bits(console: Console) -> None:
    assert_same_bits(
        resolve.resolve_model("efficientnet_lite0", resolve.ModelOptions(), console).path
    )


@needs_variants
@pytest.mark.parametrize("seed", range(12))
def test_made_networks_get_the_same_bits(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    side, channels = int(random.integers(5, 20)), int(random.integers(1, 40))
    network = Network(seed, (1, side, side, channels))
    for _ in range(3):
        kernel, stride = int(random.choice([1, 3, 5])), int(random.integers(1, 3))
        activation = int(random.choice(ACTIVATIONS))
        network.depthwise(1, kernel, stride, activation=activation)
        network.convolution(int(random.integers(1, 70)), int(random.choice([1, 3])), 1)
    network.depthwise(2, 3, 1)
    assert_same_bits(int8(network.classifier().content(), tmp_path / "int8.tflite"))
