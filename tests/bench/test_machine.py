"""Which class a CPU is of, by what /proc/cpuinfo says."""

from __future__ import annotations

import pytest

from bench import machine
from builder.base.paths import ROOT

ZEN_3 = "avx avx2 fma sse4_2"
SKYLAKE_SP = "avx2 avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.mark.parametrize(
    ("flags", "slug"),
    [
        ("sse2 sse4_1 avx", "older"),
        (ZEN_3, "avx2"),
        (SKYLAKE_SP, "avx512"),
        ("avx2 avx512f avx512cd avx512er avx512pf", "avx2"),  # Knights Landing: no AVX512BW
        (f"{ZEN_3} avx_vnni", "avx-vnni"),
        (f"{SKYLAKE_SP} avx512_vnni", "avx512-vnni"),
        (f"{SKYLAKE_SP} avx512_vnni avx_vnni amx_int8", "avx512-vnni"),
    ],
)
def test_the_class_of_a_cpu(flags: str, slug: str) -> None:
    text = f"processor\t: 0\nmodel name\t: Some Processor\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
    here = machine.here("3.11.7", text)
    assert here.cpu.slug == slug
    assert (here.processor, here.python) == ("Some Processor", "3.11.7")
    assert ("AVX512-VNNI" in here.instructions) == ("avx512_vnni" in flags)


def test_this_machine() -> None:
    here = machine.here("3.11.7")
    assert here.cpu in machine.CLASSES
    assert here.cores >= 1
    assert here.memory > 1e8


def test_the_classes_in_the_documentation() -> None:
    page = (ROOT / "docs" / "internals.md").read_text("utf-8")
    rows = [f"| {c.name} | `bench/results/{c.slug}.json` | {c.examples} |" for c in machine.CLASSES]
    assert "\n".join(rows) in page
