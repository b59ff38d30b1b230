"""The kernels' test program: compiled with sanitizers and run. It needs nothing but gcc."""

from __future__ import annotations

from pathlib import Path

from builder.native.steps import HERE, Builder

KERNELS = HERE / "xnnpack" / "kernels"
PROGRAM = "test-kernels"
INSTRUCTIONS = {
    "avx2": ["-mavx2"],
    "avx512vnni": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni"],
}
"""Part of a kernel's file name -> the compiler's flags for it; kernels.cmake has the same."""
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FLAGS = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]


def build(builder: Builder, kernels: Path = KERNELS, sanitizers: bool = True) -> Path:
    """Compile the test program.

    Args:
        builder: gives it the folder `test-kernels`.
        kernels: folder with kernels and program.
        sanitizers: whether accesses beyond a buffer, and undefined behaviour, end the program.

    Returns:
        The program. It exits with 0 if all kernels agree with plain C, 77 on a CPU without AVX2.

    Raises:
        BuildError: it does not compile.
    """
    folder = builder.folder / PROGRAM
    folder.mkdir(exist_ok=True)
    flags = [*FLAGS, *(SANITIZERS if sanitizers else [])]
    objects = []
    for source in sorted(kernels.glob("*.c")):
        sets = [set_ for name, set_ in INSTRUCTIONS.items() if f"-{name}" in source.name]
        if source.stem == PROGRAM or sets:
            objects.append(str(folder / f"{source.stem}.o"))
            command = ["gcc", *flags, *(sets[0] if sets else []), "-c", str(source)]
            builder.run([*command, "-o", objects[-1]], PROGRAM)
    program = folder / PROGRAM
    builder.run(["gcc", *flags, *objects, "-lm", "-o", str(program)], PROGRAM)
    return program
