"""The packages of a runtime: interpreter, numpy and Pillow, and how to get them.

`providers` has the choices of --runtime by name; each returns a `Runtime` for a Python version.
`wheels` downloads ready-made wheels, `strip` (with `elf_editor`) takes from them what the function
never calls, `compiled` runs the recipe in `builder/native` and caches what it made, `exchange`
moves that between machines. `prune` selects the files that ship, and `operator_versions` lists the
operators that each interpreter registers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from builder.native import TFLITE_RUNTIME, PackageName

# The licence of what the user brought: we claim nothing about it.
NO_LICENCE = "not stated"

AI_EDGE_LITERT = PackageName("ai-edge-litert", "ai_edge_litert")
# A runtime has one of them: TFLITE_RUNTIME if it was compiled, AI_EDGE_LITERT if it is of wheels.
INTERPRETERS = (TFLITE_RUNTIME, AI_EDGE_LITERT)


@dataclass(frozen=True)
class Component:
    """A package of a runtime, the model, or our own code, with its provenance.

    Attributes:
        name: of the package.
        version: of the package; may be empty.
        source: the file or project that it is from.
        sha256: of the file; empty if there is none.
        licence: as an SPDX expression, or NO_LICENCE.
        licence_texts: (title, text) of each licence that its files are under.
        compiled: whether this project compiled it; the audit then checks its libraries.
        linked: the components that are statically linked into it.
        purl: its package URL, for vulnerability scanners.
        cpe: its name in the National Vulnerability Database.
        python: the Python version that it is for, as "3.11"; empty if it is for each.
        patches: paths in this project of the patches that were applied to its source.
        changes: what was changed in the file that it is from; empty if nothing was.
    """

    name: str
    version: str
    source: str
    sha256: str
    licence: str
    licence_texts: tuple[tuple[str, str], ...]
    compiled: bool = False
    linked: tuple[Component, ...] = ()
    purl: str = ""
    cpe: str = ""
    python: str = ""
    patches: tuple[str, ...] = ()
    changes: str = ""


@dataclass(frozen=True)
class Runtime:
    """A folder of importable packages for one Python version.

    Attributes:
        python: the version, as "3.11".
        folder: what goes on the import path.
        components: the packages in it, with provenance.
        owner: path in `folder` (with slashes) -> name of the component it belongs to.
        origin: the provider and how it got the packages, for the build's log.
        operators: builtin operator -> highest version that the interpreter registers.
    """

    python: str
    folder: Path
    components: tuple[Component, ...]
    owner: dict[str, str]
    origin: str
    operators: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RuntimeOptions:
    """How to make a runtime.

    Attributes:
        ops: "classifier" or "all": the operators of a compiled interpreter.
        sources: folder that is searched for source archives before anything is downloaded.
        engine: the container engine to use; empty to find one.
        engine_arguments: passed to its build command.
    """

    ops: str = "classifier"
    sources: Path | None = None
    engine: str = ""
    engine_arguments: tuple[str, ...] = ()


DEFAULT_OPTIONS = RuntimeOptions()


def package_tag(python: str) -> str:
    """Return the tag of a Python version in folder names: "3.11" -> "cp311"."""
    return "cp" + python.replace(".", "")
