"""What goes into the zip: our own files, packages, the model, and where all of it is from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from builder.artifact import action_files, modules, provenance
from builder.artifact.bytecode import compile_modules
from builder.artifact.sbom import sbom
from builder.base.archive import Entry
from builder.base.cpython import PythonExecutable
from builder.model.resolve import Model
from builder.packages import INTERPRETERS, Runtime

MODEL_SETTINGS = "model/model.json"
DATE = (1980, 1, 1, 0, 0, 0)
"""Of the bill of materials: the same for equal zips."""

FIRST = ("__init__.py", "bootstrap.py", "launcher.py")
"""Of `action/`: what has to be there before `packed.zip` is open, or should that fail."""
# The packages with TFLite's interpreter: a cold start needs them after numpy.
_INTERPRETERS = {package.distribution for package in INTERPRETERS}

EXEC = """\
#!/usr/local/bin/python -ISB
import sys

sys.path.insert(0, __file__.rpartition("/")[0])

from main__ import main

from action.launcher import serve

serve(main)
"""
"""What OpenWhisk's proxy starts: Python without `site` and what depends on the environment."""


@dataclass(frozen=True)
class PythonRuntime:
    """Packages for one Python version, and a CPython of it to byte-compile with.

    Without one the modules ship as sources: correct, but slower to start.
    """

    runtime: Runtime
    interpreter: PythonExecutable | None


def collect_entries(
    targets: Sequence[PythonRuntime], model: Model, execution_env: str = ""
) -> list[Entry]:
    """Everything that goes into the zip, manifest included.

    Args:
        targets: one per Python version; the function chooses when it starts.
        model: the model with its settings.
        execution_env: OW_EXECUTION_ENV of the image that a precompiled zip is for; empty for a
            portable one.

    Raises:
        BuildError: something does not compile.
    """
    packages = [
        replace(part, python=target.runtime.python)
        for target in targets
        for part in target.runtime.components
    ]
    parts = [provenance.own_part(), *packages, model.component, model.labels_component]
    weights = Entry(f"model/{model.settings.file}", model.path.read_bytes(), model.component.name)
    entries = [
        *_own_files(execution_env),
        *(
            entry
            for target in targets
            for entry in _package_files(target, bool(execution_env), weights.path)
        ),
        replace(weights, when="ahead"),
        Entry(MODEL_SETTINGS, model.settings.to_json(), "labels", when="start"),
        Entry(provenance.LICENCES, provenance.licences(parts).encode(), "action"),
        Entry(provenance.SBOM, sbom(parts, DATE), "action"),
    ]
    manifest = provenance.manifest(
        [target.runtime.python for target in targets],
        all(target.interpreter for target in targets),
        parts,
        entries,
        execution_env,
    )
    return [*entries, Entry(provenance.MANIFEST, manifest, "action")]


def _own_files(execution_env: str) -> Iterator[Entry]:
    """Our sources as they are; for a precompiled zip, what the runtime would make of them.

    Those that are in `packed.zip` are for tracebacks, and for who wants to read them.
    """
    main = "main__.py" if execution_env else "__main__.py"
    for path in action_files.list_files(bool(execution_env)):
        name = main if path.name == "__main__.py" else f"action/{path.name}"
        outside = path.name in ("__main__.py", *FIRST)
        yield Entry(name, path.read_bytes(), "action", outside=outside)
    if execution_env:
        yield Entry("exec", EXEC.encode(), "action", mode=0o755, outside=True)
        yield Entry("exec.env", execution_env.encode(), "action", outside=True)


def _package_files(target: PythonRuntime, precompiled: bool, weights: str) -> Iterator[Entry]:
    """Libraries, and the modules of the packages and of our own, for one Python version.

    Args:
        target: the packages.
        precompiled: whether our launcher ships.
        weights: path of the model.
    """
    runtime, python = target.runtime, target.runtime.python
    lib, index = modules.library_folder(python), modules.Index()
    codes = _codes(target, precompiled)
    for name in FIRST if target.interpreter else ():
        if f"action/{name}" not in codes:
            continue
        stem = name.removesuffix(".py")
        cached = f"action/__pycache__/{stem}.cpython-{python.replace('.', '')}.pyc"
        yield Entry(cached, codes.pop(f"action/{name}")[1], "action", outside=True)
    add = index.add_modules if target.interpreter else index.add_sources
    for part in dict.fromkeys(["action", *runtime.owner.values()]):
        of = {p: code for p, code in codes.items() if runtime.owner.get(p, "action") == part}
        for name, content in add(part, of).items():
            when = "later" if name.endswith(".later.code") else "start"
            version = "" if part == "action" else python
            yield Entry(lib + name, content, part, version, when=when)
    ahead = []
    for path, part in sorted(runtime.owner.items()):
        if path in codes:
            continue
        when = "start"
        if modules.is_extension(path):
            beside = [
                other
                for other, owner in sorted(runtime.owner.items())
                if owner == part and modules.is_library(other) and not modules.is_extension(other)
            ]
            name = index.add_library(path, beside)
            when = "start" if name in modules.list_start_modules() else "later"
        if part in _INTERPRETERS:
            ahead.append(lib + path)
            when = "ahead"
        yield Entry(lib + path, (runtime.folder / path).read_bytes(), part, python, when=when)
    # The weights first: they take longest, and all else is imported in the meantime.
    yield Entry(lib + modules.INDEX, index.content([weights, *ahead]), "action", when="start")


def _codes(target: PythonRuntime, precompiled: bool) -> dict[str, tuple[str, bytes]]:
    """Modules by path from the import root: name in tracebacks, content of the code file.

    Of the source, if there is no interpreter to compile with.
    """
    runtime = target.runtime
    own = [path for path in action_files.list_files(precompiled) if path.suffix == ".py"]
    work = [(path, f"action/{path.name}") for path in own if path.name != "__main__.py"]
    shown = {name: name for _, name in work}
    for path in sorted(path for path in runtime.owner if path.endswith(".py")):
        shown[path] = modules.library_folder(runtime.python) + path
        work.append((runtime.folder / path, shown[path]))
    if target.interpreter:
        contents = compile_modules(target.interpreter, work)
    else:
        first = {f"action/{name}" for name in FIRST}
        contents = {name: path.read_bytes() for path, name in work if name not in first}
    return {path: (name, contents[name]) for path, name in shown.items() if name in contents}
