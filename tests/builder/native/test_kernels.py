"""Our kernels agree with plain C, bit by bit and within bounds, and a broken one is noticed."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.base import files
from builder.base.paths import ENVIRONMENTS
from builder.native.steps import BuildFolder
from builder.native.xnnpack import kernel_tests

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
NO_AVX2 = 77


def run(program: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([program], capture_output=True, text=True)
    if done.returncode == NO_AVX2:
        pytest.skip(done.stdout.strip())
    return done


def test_kernels_agree_with_plain_c_and_stay_in_bounds() -> None:
    gcc = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    # All checkouts share this folder: the same sources are compiled once.
    folder = ENVIRONMENTS / f"kernels-{hashlib.sha256(gcc.encode()).hexdigest()[:12]}"
    with files.lock(folder, "compiling the kernels' tests", print):
        done = run(kernel_tests.build(BuildFolder(folder, 1)))
    assert done.stderr == ""
    assert "\n0 of " in f"\n{done.stdout}"
    assert done.returncode == 0


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> BuildFolder:
    """Return a folder in which unchanged files of the next broken kernel are not compiled again."""
    return BuildFolder(tmp_path_factory.mktemp("kernels"), 1)


GEMM = "qs8-qc8w-gemm-c4-maddubs.c"
PACK = "qs8-qc8w-packw-c4-maddubs.c"
DWCONV = "qs8-qc8w-dwconv-madd.c"
GEMM_VNNI = "qs8-qc8w-gemm-c4-vnni.c"
PACK_VNNI = "qs8-qc8w-packw-c4-vnni.c"

BREAKS = [
    (PACK, "MM(set1_epi8)((char) 128)", "MM(set1_epi8)((char) 131)"),
    (PACK, "128 + params->input_zero_point", "127 + params->input_zero_point"),
    ("rows.h", "in == rows->zero ? in : in + rows->offset", "in + rows->offset"),
    ("rows.h", "_mm256_cmpeq_epi64(next, zero)", "_mm256_cmpeq_epi64(here, zero)"),
    (GEMM, "block.first == 0 ?", "true ?"),
    (DWCONV, "outputs == 2 ? column - 1", "outputs == 2 ? column"),
    (DWCONV, "widened(MM(unpackhi_epi8)(high, high))", "zeros()"),
    ("vector.h", "MM(adds_epi16)", "MM(add_epi16)"),
    (GEMM_VNNI, "call->k > BLOCK_K", "false"),
    (GEMM_VNNI, "nc < TILE_CHANNELS ? nc", "nc < TILE_CHANNELS ? nc + 1"),
    (PACK_VNNI, "128 + params->input_zero_point", "127 + params->input_zero_point"),
]


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        pytest.param(*each, marks=pytest.mark.thorough if each[0] == before[0] else ())
        for before, each in zip([("",), *BREAKS], BREAKS, strict=False)
    ],
)
def test_a_broken_kernel_is_noticed(
    tmp_path: Path, compiled_once: BuildFolder, file: str, right: str, wrong: str
) -> None:
    if "vnni" in file and not re.search("avx(512)?_vnni", Path("/proc/cpuinfo").read_text()):
        pytest.skip("this CPU has no VNNI")
    broken = tmp_path / "kernels"
    shutil.copytree(kernel_tests.KERNELS, broken)
    source = (broken / file).read_text()
    assert right in source
    (broken / file).write_text(source.replace(right, wrong))
    program = kernel_tests.build(compiled_once, broken, sanitizers=False)
    assert run(program).returncode != 0
