"""The machine of a benchmark run, and the class of its CPU.

XNNPACK, ONNX Runtime and our own kernels choose by the CPU's instruction sets how to multiply
bytes. Between two CPUs of one class that makes no difference; between two classes it can make six.
So times of two CPU classes never share a table.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Flags in /proc/cpuinfo that decide how bytes are multiplied, and what they are called.
INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX512F",
    "avx512bw": "AVX512BW",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "amx_int8": "AMX-INT8",
}


@dataclass(frozen=True)
class CpuClass:
    """CPUs that the same kernels are for; `slug` is the name in file names and in limits.toml."""

    slug: str
    name: str


# In the order of the report's chapters.
CPU_CLASSES = (
    CpuClass("avx512-vnni", "AVX512-VNNI"),  # Intel Xeon since Cascade Lake, AMD since Zen 4
    CpuClass("avx-vnni", "AVX-VNNI"),  # Intel Core since Alder Lake
    CpuClass("avx512", "AVX512 without VNNI"),  # Intel Xeon Skylake-SP
    CpuClass("avx2", "AVX2 without VNNI"),  # AMD Zen to Zen 3, Intel of 2013 to 2019
    CpuClass("older", "without AVX2"),  # before 2013
)


def classify_cpu(instructions: Iterable[str]) -> CpuClass:
    """Return the class of a CPU that has these of INSTRUCTIONS' values; others do not matter."""
    available = {*instructions}
    if "AVX512-VNNI" in available:
        slug = "avx512-vnni"
    elif "AVX-VNNI" in available:
        slug = "avx-vnni"
    elif {"AVX512F", "AVX512BW"} <= available:
        slug = "avx512"
    else:
        slug = "avx2" if "AVX2" in available else "older"
    return next(each for each in CPU_CLASSES if each.slug == slug)


@dataclass(frozen=True)
class Machine:
    """The machine that a run took place on; `instructions` are values of INSTRUCTIONS."""

    processor: str
    instructions: tuple[str, ...]
    cores: int
    memory: int
    system: str
    python: str

    @property
    def cpu_class(self) -> CpuClass:
        """Return the class of its CPU."""
        return classify_cpu(self.instructions)


def describe_machine(python: str, cpuinfo: str | None = None) -> Machine:
    """Describe this machine, with the version of the peers' Python and the text of cpuinfo."""
    text = Path("/proc/cpuinfo").read_text("utf-8") if cpuinfo is None else cpuinfo
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags", "").split()
    return Machine(
        processor=fields.get("model name") or platform.processor() or platform.machine(),
        instructions=tuple(name for flag, name in INSTRUCTIONS.items() if flag in flags),
        cores=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=python,
    )
