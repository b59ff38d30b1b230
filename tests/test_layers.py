"""The floors of the project: each room imports only rooms on lower floors, and none in a circle."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

from builder.base.paths import ROOT

# A room is a folder or a file at the top of the project or of builder/; from the ground up.
FLOORS = (
    ("action", "builder.base"),
    ("builder.deploy", "builder.native", "client"),
    ("builder.packages",),
    ("builder.model",),
    ("builder.artifact",),
    ("builder.report",),
    ("builder.build",),
    ("bench", "builder.options", "tools"),
    ("builder.cli",),
    ("build_zip",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MOST_ROOMS, MOST_ARROWS = 16, 40

# `python3 -m action` is the client's command line where client/ is there; the zip has no client/.
LOCAL_COMMAND = ("action.__main__", "client.cli")

Imports = dict[str, set[str]]


def find_modules(root: Path) -> dict[str, Path]:
    """Return the product's modules by dotted name; the tests are not among them."""
    folders = {room.partition(".")[0] for room in FLOOR_OF}
    paths = [root / f"{folder}.py" for folder in folders if (root / f"{folder}.py").exists()]
    for folder in folders:
        paths += (root / folder).rglob("*.py")
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


def imported_names(name: str, path: Path) -> Iterator[str]:
    """Yield what a module imports, also inside functions and for type checkers."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level]
            source = ".".join([*(base if node.level else ()), *filter(None, [node.module])])
            for alias in node.names:
                yield f"{source}.{alias.name}"  # a module of a package, or a name in a module


def read_imports(root: Path) -> Imports:
    """Return module -> modules of ours that it imports; a name stands for its module."""
    modules = find_modules(root)
    imports: Imports = {name: set() for name in modules}
    for name, path in modules.items():
        for each in imported_names(name, path):
            while each and each not in modules:
                each = each.rpartition(".")[0]
            if each and each != name and (name, each) != LOCAL_COMMAND:
                imports[name].add(each)
    return imports


def room_of(module: str) -> str:
    """Return the room that a module is in; the package `builder` itself is in none."""
    parts = module.split(".")
    return next((name for name in (".".join(parts[:2]), parts[0]) if name in FLOOR_OF), "")


def arrows(imports: Imports) -> set[tuple[str, str]]:
    """Return the pairs of rooms of which one imports the other."""
    pairs = {(room_of(name), room_of(other)) for name in imports for other in imports[name]}
    return {(room, other) for room, other in pairs if room != other and room and other}


def climbing(imports: Imports) -> list[str]:
    """Return the imports that do not lead to a lower floor."""
    return sorted(
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if (room := room_of(name)) != (below := room_of(other))
        and room
        and below
        and FLOOR_OF[below] >= FLOOR_OF[room]
    )


def test_rooms_import_only_from_lower_floors() -> None:
    assert climbing(read_imports(ROOT)) == []


def test_every_module_is_in_a_room() -> None:
    assert [name for name in find_modules(ROOT) if not room_of(name)] == ["builder"]


def test_few_rooms_and_few_arrows_between_them() -> None:
    assert len(FLOOR_OF) <= MOST_ROOMS
    assert len(arrows(read_imports(ROOT))) <= MOST_ARROWS


def test_no_import_circles() -> None:
    # An import of a submodule does not need its package's names.
    graphlib.TopologicalSorter(read_imports(ROOT)).prepare()
