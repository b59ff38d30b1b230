"""Compile the test programs of kernels and threads, with sanitizers. They need nothing but gcc."""

from pathlib import Path

from builder.native.steps import RECIPE, BuildFolder

KERNELS = RECIPE / "xnnpack" / "kernels"
PROGRAM = "test-kernels"
THREADS = RECIPE / "xnnpack" / "threads"
THREADS_PROGRAM = "test-tickets"
_AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
# End of a kernel's file name -> instruction sets that it is compiled for, with compiler flags; as
# kernels.cmake has them.
INSTRUCTION_SETS = {
    "maddubs": {"avx2": ["-mavx2"], "avx512skx": _AVX512},
    "madd": {"avx2": ["-mavx2"], "avx512skx": _AVX512},
    "vnni": {"avxvnni": ["-mavx2", "-mavxvnni"], "avx512vnni": [*_AVX512, "-mavx512vnni"]},
    "avx512vnni": {"avx512vnni": [*_AVX512, "-mavx512vnni"]},
}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FLAGS = ["-std=c11", "-Og", "-g", "-Wall", "-Wextra", "-Werror"]


def build(folder: BuildFolder, kernels: Path = KERNELS, sanitizers: bool = True) -> Path:
    """Compile the test program; skip the files that were compiled before and are the same.

    Args:
        folder: gets a folder `test-kernels`.
        kernels: folder with kernels and program.
        sanitizers: whether accesses beyond a buffer, and undefined behaviour, end the program.

    Returns:
        The program. It exits with 0 if all kernels agree with plain C, 77 on a CPU without AVX2.
    """
    flags = [*FLAGS, *(SANITIZERS if sanitizers else [])]
    headers = [path.read_text() for path in sorted(kernels.glob("*.h"))]
    objects = []
    units: list[tuple[Path, str, list[str]]] = [(kernels / f"{PROGRAM}.c", "any", [])]
    for source in sorted(kernels.glob("qs8-*.c")):
        sets = INSTRUCTION_SETS[source.stem.rpartition("-")[2]]
        units += [(source, name, options) for name, options in sets.items()]
    for source, name, options in units:
        command = ["gcc", *flags, *options, "-c", str(source), "-o"]

        def work(output: Path, command: list[str] = command) -> None:
            folder.run([*command, str(output / "object.o")], PROGRAM)

        step = f"{PROGRAM}/{source.stem}-{name}"
        folder.step(step, [*headers, source.read_text(), *flags, *options], work)
        objects.append(str(folder.path / step / "object.o"))
    program = folder.path / PROGRAM / PROGRAM
    folder.run(["gcc", *flags, *objects, "-lm", "-o", str(program)], PROGRAM)
    return program


def build_threads(folder: BuildFolder, threads: Path = THREADS, sanitizer: str = "thread") -> Path:
    """Compile the test program of the worker threads' protocol; return it.

    Args:
        folder: gets a folder `test-tickets`.
        threads: folder with protocol and program.
        sanitizer: gcc's name of one; empty for none.
    """
    source = threads / f"{THREADS_PROGRAM}.c"
    flags = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
    flags += [f"-fsanitize={sanitizer}"] if sanitizer else []
    step = f"{THREADS_PROGRAM}/{sanitizer or 'plain'}"

    def work(output: Path) -> None:
        command = ["gcc", *flags, str(source), "-o", str(output / "program")]
        folder.run(command, THREADS_PROGRAM)

    contents = [path.read_text() for path in (source, threads / "ticket.h")]
    folder.step(step, [*flags, *contents], work)
    return folder.path / step / "program"
