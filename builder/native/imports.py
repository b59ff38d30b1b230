"""Rewrite a package's imports by the rules in its `imports.toml`, so that it starts quickly.

For each module that ships the rules name

    defer       names that the module imports: each is imported in the functions that use it
    instead     modules -> the module to import instead

The module `*` stands for every one. A rule without effect is an error, and so is a deferred name
that is used before any function runs: after an update of the package, the rules hold or say what
no longer fits. `NAME < 13` is for versions of the package before 13 (versions.py).

This is a script of its own. It runs on the Python that the package is for, since that can parse its
sources; its arguments are the package's folder and the rules as JSON. It replaces lines, not the
whole text, so that every Python gives the same result.
"""

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPOUND = (*_FUNCTIONS, ast.If, ast.For, ast.While, ast.With, ast.Try)


class RuleError(Exception):
    """A rule does not fit the module."""


class Edit(NamedTuple):
    """Lines of a module, from `first` to before `end`, and those that take their place."""

    first: int
    end: int
    lines: list[str]


def rewrite(source: str, defer: list[str], instead: dict[str, str]) -> str:
    """Return a module's source with the rules applied.

    Args:
        source: of the module.
        defer: names, as the module knows them.
        instead: module -> module to import instead, both as an import statement spells them.

    Raises:
        RuleError: a name or a module is not imported, or is used when the module is loaded.
    """
    tree = ast.parse(source)
    missing = {*defer, *instead}
    edits: list[Edit] = []
    for node in tree.body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        kept: dict[str, list[str]] = {}
        done = set()
        for module, alias in _imported(node):
            bound = alias.asname or alias.name
            origin = module if isinstance(node, ast.ImportFrom) else ""
            if module in instead:
                done.add(module)
                kept.setdefault(instead[module], []).append(ast.unparse(alias))
            elif bound in defer:
                done.add(bound)
                edits += _defer(tree, bound, _import(origin, [ast.unparse(alias)]))
            else:
                kept.setdefault(origin, []).append(ast.unparse(alias))
        if done:
            lines = [_import(*each) for each in kept.items()]
            edits.append(Edit(node.lineno, (node.end_lineno or 0) + 1, lines))
        missing -= done
    if missing:
        raise RuleError(f"expected imports of {', '.join(sorted(missing))}, found none")
    lines = source.splitlines()
    # From the end, so that the numbers of the lines before stay.
    for edit in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        lines[edit.first - 1 : edit.end - 1] = edit.lines
    return "\n".join(lines) + "\n"


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, ast.alias]]:
    """Yield each imported name with the module that it is or is from."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias.name, alias
        else:
            yield "." * node.level + (node.module or ""), alias


def _import(module: str, names: list[str]) -> str:
    """Return the import of names from a module or, if that is empty, of modules."""
    return f"from {module} import {', '.join(names)}" if module else f"import {', '.join(names)}"


def _defer(tree: ast.Module, name: str, statement: str) -> Iterator[Edit]:
    """Yield the edits that import a name in the functions that use it.

    Raises:
        RuleError: something uses it when the module is loaded, or a function assigns it.
    """
    functions = list(_outer_functions(tree))
    later = {id(use) for function in functions for use in _uses(function.body, name)}
    for use in _uses([tree], name):
        if id(use) not in later:
            raise RuleError(f"{name} is needed as soon as the module is loaded: line {use.lineno}")
    for function in functions:
        if not all(isinstance(use.ctx, ast.Load) for use in _uses(function.body, name)):
            raise RuleError(f"{function.name} assigns {name} itself")
        for user in _first_users(function.body, name):
            if user.lineno == function.lineno:
                raise RuleError(f"{name} is used in line {user.lineno}, in one line")
            decorators = getattr(user, "decorator_list", ())
            line = min(node.lineno for node in (user, *decorators))
            yield Edit(line, line, [" " * user.col_offset + statement])


def _outer_functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods that are in no other function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _FUNCTIONS):
            yield child
        else:
            yield from _outer_functions(child)


def _uses(nodes: Iterable[ast.AST], name: str) -> list[ast.Name]:
    inner = (each for node in nodes for each in ast.walk(node))
    return [each for each in inner if isinstance(each, ast.Name) and each.id == name]


def _first_users(body: list[ast.stmt], name: str) -> Iterator[ast.stmt]:
    """Yield the statements that have to import a name, in the innermost blocks that use it.

    After a statement that uses the name itself, the rest of its block has it.
    """
    for statement in body:
        blocks = _blocks(statement)
        inner = [use for block in blocks for use in _uses(block, name)]
        if len(_uses([statement], name)) > len(inner):
            yield statement
            return
        for block in blocks:
            yield from _first_users(block, name)


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """Return the blocks of a statement that a line can be put into; none if it is one line."""
    if not isinstance(statement, _COMPOUND):
        return []
    blocks = [getattr(statement, field, []) for field in ("body", "orelse", "finalbody")]
    if isinstance(statement, ast.If) and len(statement.orelse) == 1:
        [other] = statement.orelse
        if isinstance(other, ast.If) and other.col_offset == statement.col_offset:  # an elif
            blocks[1:2] = _blocks(other)
    in_one_line = any(block and block[0].lineno == statement.lineno for block in blocks)
    return [] if in_one_line else blocks


def apply(folder: Path, table: dict[str, dict[str, Any]]) -> None:
    """Rewrite the modules in a folder.

    Raises:
        RuleError: a rule does not fit; names the module.
    """
    everywhere = table.pop("*", {}).get("instead", {})
    unused = set(everywhere)
    modules = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    if unknown := set(table) - set(modules):
        raise RuleError(f"expected the modules {', '.join(sorted(unknown))}, found none")
    for name, path in sorted(modules.items()):
        source = path.read_text("utf-8")
        rule = table.get(name, {})
        imported = {
            module
            for node in ast.parse(source).body
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for module, _ in _imported(node)
        }
        here = {module: other for module, other in everywhere.items() if module in imported}
        unused -= set(here)
        defer, instead = rule.get("defer", []), {**here, **rule.get("instead", {})}
        if not (defer or instead):
            continue
        try:
            path.write_text(rewrite(source, defer, instead), "utf-8")
        except RuleError as error:
            raise RuleError(f"{name}: {error}") from error
    if unused:
        raise RuleError(f"expected a module that imports {', '.join(sorted(unused))}, found none")


if __name__ == "__main__":
    try:
        apply(Path(sys.argv[1]), json.loads(sys.argv[2]))
    except RuleError as error:
        sys.exit(f"imports.toml, {Path(sys.argv[1]).name}: {error}")
