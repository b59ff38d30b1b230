"""Who may import whom: `action/` stands alone, `client/` above it, and nothing runs in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from builder.base.paths import ROOT

LAYERS = {
    "action": set[str](),
    "client": {"action"},
    "builder": set[str](),
    "bench": {"action", "builder", "client"},
}
"""Folder -> the other ones whose modules its modules may import."""

COMMAND = ("action.__main__", "client.cli")
"""`python -m action` is the command line where `client/` is; what ships never comes there."""

Graph = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Our modules by name: of each layer's folder all that is below it."""
    found = {}
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(name: str, path: Path) -> Iterator[str]:
    """Names that a module imports anywhere in it: in functions and for types only, too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level]
            source = ".".join([*(base if node.level else ()), *filter(None, [node.module])])
            for alias in node.names:
                yield f"{source}.{alias.name}"  # a module of a package, or a name of a module


def graph(root: Path) -> Graph:
    """Module -> those of ours that it imports.

    A name that is no module stands for the module that it is from. A package is imported with
    each of its modules, but what imports a module does not name the package.
    """
    ours = modules(root)
    edges: Graph = {name: set() for name in ours}
    for name, path in ours.items():
        for each in imported(name, path):
            while each and each not in ours:
                each = each.rpartition(".")[0]
            if each and each != name:
                edges[name].add(each)
    return edges


def upward(edges: Graph) -> list[str]:
    """Imports that leave their layer for one that is not below it."""
    return [
        f"{name} imports {other}"
        for name, others in sorted(edges.items())
        for other in sorted(others)
        if (source := name.partition(".")[0]) != (target := other.partition(".")[0])
        and target not in LAYERS[source]
        and (name, other) != COMMAND
    ]


def circles(edges: Graph) -> list[str]:
    """Groups of modules that import each other, directly or by way of others (Tarjan, 1972)."""
    found: list[str] = []
    numbers: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        numbers[name] = low[name] = len(numbers)
        stack.append(name)
        for other in sorted(edges[name]):
            if other not in numbers:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], numbers[other])
        if low[name] == numbers[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(" <-> ".join(sorted(group)))

    for name in sorted(edges):
        if name not in numbers:
            visit(name)
    return found


def test_each_layer_imports_those_below_it() -> None:
    assert upward(graph(ROOT)) == []


def test_no_circles() -> None:
    assert circles(graph(ROOT)) == []


def test_the_test_sees_what_it_forbids(tmp_path: Path) -> None:
    """On a small tree with one fault of each kind."""
    files = {
        "action/__init__.py": "",
        "action/one.py": "from action import two\nfrom builder.base.errors import BuildError",
        "action/two.py": "def late():\n    from .three import three",
        "action/three.py": "if TYPE_CHECKING:\n    import action.one as first",
        "client/__init__.py": "from action.two import late",
        "builder/base/data.py": "import json\nimport client",
        "builder/base/errors.py": "",
        "bench/tool.py": "import action.one, builder.base.data, client",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    edges = graph(tmp_path)
    assert edges["action.two"] == {"action.three"}
    assert upward(edges) == [
        "action.one imports builder.base.errors",
        "builder.base.data imports client",
    ]
    assert circles(edges) == ["action.one <-> action.three <-> action.two"]
