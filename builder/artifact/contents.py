"""Collect what goes into the zip: our own files, packages, the model, manifest and licences."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from builder.artifact import action_files, memory, platform
from builder.artifact.licences import LICENCES, collect_licences
from builder.artifact.manifest import MANIFEST, Manifest, list_components
from builder.artifact.modules import PythonRuntime, pack_modules
from builder.artifact.sbom import SBOM, write_sbom
from builder.base.archive import Entry, compress
from builder.model.resolve import Model

MODEL_SETTINGS = "model/model.json"
# What OpenWhisk's proxy starts in a precompiled zip: Python without `site` and without what depends
# on the environment.
EXEC = """\
#!/usr/local/bin/python -ISB
import sys

sys.path.insert(0, __file__.rpartition("/")[0])

from main__ import main

from action.launcher import serve

serve(main)
"""

# Milliseconds per MB that comes out of CPython's zlib: 3.1 for code, 4.6 for weights.
_INFLATE_MS = 4.2
# Share of that which delays a cold start. A thread inflates "ahead" while modules are imported: on
# a second CPU that costs nothing, without one all of it.
_INFLATE_SHARE = {"start": 1.0, "ahead": 0.5, "later": 0.0}
# Milliseconds that a MB less of zip is worth: 3.5 MB of the action's memory, and sent to each host.
_MEMORY_MS = 2.0


def collect_entries(
    runtimes: Sequence[PythonRuntime], model: Model, execution_env: str = ""
) -> list[Entry]:
    """Return everything that goes into the zip, manifest included.

    With several runtimes, the function chooses when it starts. `execution_env` is that of the
    image that a precompiled zip is for; empty for a portable one.

    Raises:
        BuildError: a module does not compile.
    """
    packages = [
        replace(component, python=runtime.python)
        for runtime in runtimes
        for component in runtime.packages.components
    ]
    function = action_files.describe_function()
    components = [function, *packages, model.component, model.labels_component]
    weights = Entry(
        f"model/{model.settings.file}",
        model.path.read_bytes(),
        model.component.name,
        when="ahead",
    )
    entries = [
        *_own_entries(execution_env),
        weights,
        Entry(MODEL_SETTINGS, model.settings.to_json(), "labels", when="start"),
        Entry(LICENCES, collect_licences(components).encode(), "action"),
        Entry(SBOM, write_sbom(components), "action"),
    ]
    for runtime in runtimes:
        entries += pack_modules(runtime, bool(execution_env), weights.path)
    entries = _deflate_where_cheaper(entries)
    manifest = Manifest(
        pythons=tuple(runtime.python for runtime in runtimes),
        bytecode=all(runtime.compiler for runtime in runtimes),
        execution_env=execution_env,
        memory=_estimate_memory(runtimes, model, entries),
        components=list_components(components, entries),
    )
    listed = Entry(MANIFEST, manifest.to_json(), "action")
    return [*entries, *_deflate_where_cheaper([listed])]


def _own_entries(execution_env: str) -> Iterator[Entry]:
    """Return our sources; for a precompiled zip, what the runtime would make of them.

    Those in `packed.zip` are for tracebacks, and for whoever wants to read them.
    """
    for path in action_files.list_files(bool(execution_env)):
        if path.name == "__main__.py":
            name, outside = "main__.py" if execution_env else "__main__.py", True
        else:
            name, outside = f"action/{path.name}", path.name in action_files.BOOT_FILES
        yield Entry(name, path.read_bytes(), "action", outside=outside)
    if execution_env:
        yield Entry("exec", EXEC.encode(), "action", mode=0o755, outside=True)
        yield Entry("exec.env", execution_env.encode(), "action", outside=True)


def _deflate_where_cheaper(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries, compressed where a cold start becomes cheaper by that."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # libdeflate releases the GIL
        compressed = list(threads.map(lambda entry: compress(entry.content), entries))
    return [
        replace(entry, compressed=data) if _is_cheaper(entry, len(data)) else entry
        for entry, data in zip(entries, compressed, strict=True)
    ]


def _is_cheaper(entry: Entry, deflated: int) -> bool:
    """Return whether a file of so many bytes when deflated should be; costs in ms per MB."""
    proxy = platform.table()["proxy"]
    received = proxy["body"] + proxy["json"] + proxy["base64"] + _MEMORY_MS
    if entry.outside:  # the proxy inflates and writes it
        inflated = proxy["inflate"]
    else:
        received += proxy["write"]
        inflated = _INFLATE_SHARE[entry.when] * _INFLATE_MS
    size = len(entry.content)
    return bool((size - deflated) * received > size * inflated)


def _estimate_memory(
    runtimes: Sequence[PythonRuntime], model: Model, entries: Sequence[Entry]
) -> int:
    """Return the memory limit that the action needs, in MB."""
    libraries = [
        [len(entry.content) for entry in entries if ".so" in entry.path and entry.python == python]
        for python in (runtime.python for runtime in runtimes)
    ]
    height, width, _ = model.settings.size
    value_bytes = {"float32": 4, "int16": 2}.get(model.tflite.inputs[0].dtype, 1)
    process = memory.estimate_process(
        max(libraries, key=sum), model.path.stat().st_size, height * width, value_bytes
    )
    size = sum(len(entry.compressed or entry.content) for entry in entries)
    return memory.choose_limit(size, process)
