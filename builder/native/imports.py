"""Rewrite a package's imports by the rules in its `imports.toml`, so that it starts quickly.

Of each module that ships the rules name

    defer       names that its module level imports: each is imported in the functions that use it
    instead     modules -> the module that takes the place of one in imports of the module level

The module `*` stands for every one. A rule that finds nothing to do is an error, and so is a name
that is needed before any function runs: after an update of the package, the rules hold or say what
no longer fits.

`NAME < 13`, `NAME >= 2.4` is for versions of the package before 13, from 2.4 on (pins.py).

Runs as a script of its own, with the Python that the package is for, since that can read its
sources: the arguments are the package's folder and the rules as JSON. Lines are replaced,
not the whole text, so that the result is the same whichever Python it is.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class RuleError(Exception):
    """A rule does not fit the module."""


Rules = dict[str, dict[str, Any]]
"""Module, as its path in the package -> `defer` and `instead`."""


class Deferred(NamedTuple):
    """A name that is imported where it is used: the statement that does it."""

    name: str
    statement: str


def rewrite(source: str, defer: list[str], instead: dict[str, str]) -> str:
    """A module's source with the rules applied.

    Args:
        source: of the module.
        defer: names, as the module knows them.
        instead: module -> stand-in, both as an import statement spells them.

    Raises:
        RuleError: a name or a module is not imported, or is used when the module is loaded.
    """
    tree = ast.parse(source)
    lines = source.splitlines()
    missing = set(defer)
    absent = set(instead)
    deferred: list[Deferred] = []
    replaced: list[tuple[ast.stmt, list[str]]] = []
    for node in tree.body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        kept: dict[str, list[str]] = {}
        changed = False
        for module, alias in _names(node):
            bound = alias.asname or alias.name
            origin = module if isinstance(node, ast.ImportFrom) else ""
            if module in instead:
                absent.discard(module)
                changed = True
                kept.setdefault(instead[module], []).append(_spelled(alias))
            elif bound in defer:
                missing.discard(bound)
                changed = True
                deferred.append(Deferred(bound, _statement(origin, [_spelled(alias)])))
            else:
                kept.setdefault(origin, []).append(_spelled(alias))
        if changed:
            replaced.append((node, [_statement(*each) for each in kept.items()]))
    if missing or absent:
        raise RuleError(f"expected imports of {', '.join(sorted(missing | absent))}, found none")
    inserted = [place for each in deferred for place in _uses(tree, each)]
    # From the end, so that the numbers of the lines before stay.
    edits = [(node.lineno, node.end_lineno or 0, kept) for node, kept in replaced]
    edits += [(line, line - 1, [text]) for line, text in inserted]
    for first, last, new in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        lines[first - 1 : last] = new
    return "\n".join(lines) + "\n"


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, ast.alias]]:
    """Each name that is imported, with the module that it is or is from."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias.name, alias
        else:
            yield "." * node.level + (node.module or ""), alias


def _spelled(alias: ast.alias) -> str:
    return f"{alias.name} as {alias.asname}" if alias.asname else alias.name


def _statement(module: str, names: list[str]) -> str:
    """The import of names from a module, or, if that is empty, of modules."""
    return f"from {module} import {', '.join(names)}" if module else f"import {', '.join(names)}"


def _uses(tree: ast.Module, deferred: Deferred) -> Iterator[tuple[int, str]]:
    """Where a deferred import goes: (number of the line that it comes before, its text)."""
    for function in _users(tree.body, deferred.name, _has_lazy_annotations(tree)):
        _forbid_own(function, deferred.name)
        for statement in _users_within(function.body, deferred.name):
            if statement.lineno == function.lineno:
                raise RuleError(f"{deferred.name} is used in line {statement.lineno}, in one line")
            decorators = getattr(statement, "decorator_list", ())
            line = min([statement.lineno, *(each.lineno for each in decorators)])
            yield line, " " * statement.col_offset + deferred.statement


def _users_within(body: list[ast.stmt], name: str) -> Iterator[ast.stmt]:
    """The statements of a function that use a name, in the innermost blocks that have them.

    Of statements in one block the first that uses it itself is the last: it has imported it.
    """
    for statement in body:
        if not _names_in([statement]) >= {name}:
            continue
        blocks = _blocks(statement)
        inner = {id(each) for block in blocks for line in block for each in ast.walk(line)}
        own = [each for each in ast.walk(statement) if id(each) not in inner]
        if not blocks or any(isinstance(each, ast.Name) and each.id == name for each in own):
            yield statement
            return
        for block in blocks:
            yield from _users_within(block, name)


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks of a statement that a line can be put into."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [statement.body]
    if isinstance(statement, ast.ClassDef):
        return []
    fields = [getattr(statement, field, None) or [] for field in ("body", "orelse", "finalbody")]
    fields += [handler.body for handler in getattr(statement, "handlers", ())]
    fields += [case.body for case in getattr(statement, "cases", ())]
    if isinstance(statement, ast.If) and len(statement.orelse) == 1:
        [other] = statement.orelse
        if isinstance(other, ast.If) and other.col_offset == statement.col_offset:
            fields[1:2] = _blocks(other)
    same_line = [block for block in fields if block and block[0].lineno == statement.lineno]
    return [] if same_line else [block for block in fields if block]


def _names_in(statements: list[ast.stmt]) -> set[str]:
    inner = (each for statement in statements for each in ast.walk(statement))
    return {each.id for each in inner if isinstance(each, ast.Name)}


def _users(
    body: list[Any], name: str, lazy_annotations: bool
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The outermost functions that use a name.

    Raises:
        RuleError: something else uses it, when the module is loaded.
    """
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            annotations = [] if lazy_annotations else _annotations(node)
            _forbid([*node.decorator_list, *_defaults(node.args), *annotations], name)
            inner = [each for line in node.body for each in ast.walk(line)]
            names = {each.id for each in inner if isinstance(each, ast.Name)}
            names |= {each for line in inner if isinstance(line, ast.Global) for each in line.names}
            if name in names:
                yield node
        elif isinstance(node, ast.ClassDef):
            _forbid([*node.decorator_list, *node.bases, *node.keywords], name)
            yield from _users(node.body, name, lazy_annotations)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _users(node.orelse, name, lazy_annotations)
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            heads = [getattr(node, field, None) for field in ("test", "iter", "target")]
            _forbid([head for head in heads if head] + list(getattr(node, "items", ())), name)
            for field in ("body", "orelse", "finalbody"):
                yield from _users(getattr(node, field, []), name, lazy_annotations)
            for handler in getattr(node, "handlers", ()):
                _forbid([handler.type] if handler.type else [], name)
                yield from _users(handler.body, name, lazy_annotations)
        elif isinstance(node, ast.AnnAssign):
            _forbid([node.target, *([node.value] if node.value else [])], name)
            _forbid([] if lazy_annotations else [node.annotation], name)
        else:
            _forbid([node], name)


def _forbid_own(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> None:
    """Raise if a function gives the name another meaning."""
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
            raise RuleError(f"{function.name} assigns {name} itself")


def _forbid(nodes: list[Any], name: str) -> None:
    """Raise if one of the nodes, which run as the module is loaded, uses the name."""
    for node in [each for top in nodes for each in ast.walk(top)]:
        if isinstance(node, ast.Name) and node.id == name:
            raise RuleError(f"{name} is needed as soon as the module is loaded: line {node.lineno}")


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [each for each in (*arguments.defaults, *arguments.kw_defaults) if each]


def _annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    arguments = function.args
    each = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    each += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
    annotations = [argument.annotation for argument in each] + [function.returns]
    return [annotation for annotation in annotations if annotation]


def _has_lazy_annotations(tree: ast.Module) -> bool:
    """Whether the module's annotations are never evaluated."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def apply(folder: Path, table: Rules) -> None:
    """Rewrite the modules in a folder.

    Raises:
        RuleError: a rule does not fit; names the module.
    """
    everywhere = table.pop("*", {}).get("instead", {})
    unused = set(everywhere)
    modules = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    if strangers := set(table) - set(modules):
        raise RuleError(f"expected the modules {', '.join(sorted(strangers))}, found none")
    for name, path in sorted(modules.items()):
        source = path.read_text("utf-8")
        rule = table.get(name, {})
        imported = {
            module
            for node in ast.parse(source).body
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for module, _ in _names(node)
        }
        own = {module: to for module, to in everywhere.items() if module in imported}
        unused -= set(own)
        instead = {**own, **rule.get("instead", {})}
        if instead or rule.get("defer"):
            try:
                path.write_text(rewrite(source, rule.get("defer", []), instead), "utf-8")
            except RuleError as error:
                raise RuleError(f"{name}: {error}") from error
    if unused:
        raise RuleError(f"expected a module that imports {', '.join(sorted(unused))}, found none")


if __name__ == "__main__":
    try:
        apply(Path(sys.argv[1]), json.loads(sys.argv[2]))
    except RuleError as error:
        sys.exit(f"imports.toml, {Path(sys.argv[1]).name}: {error}")
