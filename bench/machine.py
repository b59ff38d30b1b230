"""What machine this is, and of which class its CPU is: figures of two classes are never mixed.

XNNPACK, ONNX Runtime and our own kernels choose by the CPU's instruction sets how to multiply
bytes. Between two CPUs of one class that makes no difference; between two classes it can make six.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX512F",
    "avx512bw": "AVX512BW",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "amx_int8": "AMX-INT8",
}
"""Flags in /proc/cpuinfo that decide how bytes are multiplied, and what they are called."""


@dataclass(frozen=True)
class CpuClass:
    """CPUs that the same kernels are for.

    Attributes:
        slug: in names of files and on the command line.
        name: for readers.
        examples: CPUs that are of it.
        includes: slugs of the classes whose kernels it can run, too.
    """

    slug: str
    name: str
    examples: str
    includes: tuple[str, ...] = ()


CLASSES = (
    CpuClass(
        "avx512-vnni",
        "AVX512-VNNI",
        "Intel Xeon since Cascade Lake, AMD since Zen 4",
        ("avx512", "avx2"),
    ),
    CpuClass("avx-vnni", "AVX-VNNI", "Intel Core since Alder Lake", ("avx2",)),
    CpuClass("avx512", "AVX512 without VNNI", "Intel Xeon Skylake-SP", ("avx2",)),
    CpuClass("avx2", "AVX2 without VNNI", "AMD Zen to Zen 3, Intel Xeon and Core of 2013 to 2019"),
    CpuClass("older", "without AVX2", "before 2013"),
)
"""In the order of the reports."""


def cpu_class(instructions: Iterable[str]) -> CpuClass:
    """The class of a CPU.

    Args:
        instructions: values of INSTRUCTIONS that it has; others do not matter.
    """
    has = {*instructions}
    if "AVX512-VNNI" in has:
        slug = "avx512-vnni"
    elif "AVX-VNNI" in has:
        slug = "avx-vnni"
    elif {"AVX512F", "AVX512BW"} <= has:
        slug = "avx512"
    else:
        slug = "avx2" if "AVX2" in has else "older"
    return named(slug)


def named(slug: str) -> CpuClass:
    """The class of that slug."""
    return next(each for each in CLASSES if each.slug == slug)


@dataclass(frozen=True)
class Machine:
    """Where a run took place.

    Attributes:
        processor: as the kernel names it.
        instructions: values of INSTRUCTIONS.
        cores: how many.
        memory: in bytes.
        system: operating system and its version.
        python: version of what runs the peers.
    """

    processor: str
    instructions: tuple[str, ...]
    cores: int
    memory: int
    system: str
    python: str

    @property
    def cpu(self) -> CpuClass:
        """The class of its CPU."""
        return cpu_class(self.instructions)


def here(python: str, cpuinfo: str | None = None) -> Machine:
    """Describe this machine.

    Args:
        python: version of what runs the peers.
        cpuinfo: the text of /proc/cpuinfo; by default this machine's.
    """
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
