"""The class of a CPU, from /proc/cpuinfo."""

from __future__ import annotations

import pytest

from bench.machine import describe_machine

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
def test_cpu_class_by_flags(flags: str, slug: str) -> None:
    text = f"processor\t: 0\nmodel name\t: Some Processor\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
    machine = describe_machine("3.11.7", text)
    assert machine.cpu_class.slug == slug
    assert (machine.processor, machine.python) == ("Some Processor", "3.11.7")
    assert ("AVX512-VNNI" in machine.instructions) == ("avx512_vnni" in flags)
