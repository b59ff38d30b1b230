"""The kernels' test program: compiled with sanitizers and run. It needs nothing but gcc."""

from __future__ import annotations

from pathlib import Path

from builder.native.steps import HERE, Builder

KERNELS = HERE / "xnnpack" / "kernels"
PROGRAM = "test-kernels"
SKX = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
INSTRUCTIONS = {
    "maddubs": {"avx2": ["-mavx2"], "avx512skx": SKX},
    "madd": {"avx2": ["-mavx2"], "avx512skx": SKX},
    "avx512vnni": {"avx512vnni": [*SKX, "-mavx512vnni"]},
}
"""How a kernel's file name ends -> for what it is compiled, and flags; as kernels.cmake has it."""
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FLAGS = ["-std=c11", "-Og", "-g", "-Wall", "-Wextra", "-Werror"]


def build(builder: Builder, kernels: Path = KERNELS, sanitizers: bool = True) -> Path:
    """Compile the test program; what was compiled before and is the same is taken.

    Args:
        builder: gives it the folder `test-kernels`.
        kernels: folder with kernels and program.
        sanitizers: whether accesses beyond a buffer, and undefined behaviour, end the program.

    Returns:
        The program. It exits with 0 if all kernels agree with plain C, 77 on a CPU without AVX2.

    Raises:
        BuildError: it does not compile.
    """
    flags = [*FLAGS, *(SANITIZERS if sanitizers else [])]
    headers = [path.read_text() for path in sorted(kernels.glob("*.h"))]
    objects = []
    parts: list[tuple[Path, str, list[str]]] = [(kernels / f"{PROGRAM}.c", "any", [])]
    for source in sorted(kernels.glob("qs8-*.c")):
        sets = INSTRUCTIONS[source.stem.rpartition("-")[2]]
        parts += [(source, name, chosen) for name, chosen in sets.items()]
    for source, name, chosen in parts:
        command = ["gcc", *flags, *chosen, "-c", str(source), "-o"]

        def work(folder: Path, command: list[str] = command) -> None:
            builder.run([*command, str(folder / "object.o")], PROGRAM)

        step = f"{PROGRAM}/{source.stem}-{name}"
        builder.step(step, [*headers, source.read_text(), *flags, *chosen], work)
        objects.append(str(builder.folder / step / "object.o"))
    program = builder.folder / PROGRAM / PROGRAM
    builder.run(["gcc", *flags, *objects, "-lm", "-o", str(program)], PROGRAM)
    return program
