"""Patches and rules that are for some versions of a source only: "NAME < 13", "NAME >= 2.4"."""

import operator
import re
from collections.abc import Iterable
from typing import Any

# Module, as its path in the package -> "defer" and "instead" (imports.py).
Rules = dict[str, dict[str, Any]]
_COMPARISONS = {"<": operator.lt, ">=": operator.ge}


def names_for_version(lines: Iterable[str], version: str) -> list[str]:
    """Return the names of the lines that hold for a version.

    Args:
        lines: "NAME", "NAME < 13" or "NAME >= 2.4".
        version: of the source.
    """
    return [line.split()[0] for line in lines if _holds(line, version)]


def rules_for_version(table: Rules, version: str) -> Rules:
    """Return the rules of an imports.toml that hold for a version, each with both of its keys."""
    return {
        module: {
            "defer": names_for_version(rule.get("defer", ()), version),
            "instead": {
                line.split()[0]: other
                for line, other in rule.get("instead", {}).items()
                if _holds(line, version)
            },
        }
        for module, rule in table.items()
    }


def upstream_version(revision: str) -> str:
    """Return the upstream part of Debian's version: "1:1.3.dfsg+really1.3.1-1" -> "1.3.1"."""
    version = re.sub(r"^\d+:|-[^-]*$", "", revision)
    return re.sub(r"^.*\+really|[.+]dfsg.*$", "", version)


def _holds(line: str, version: str) -> bool:
    _, *bound = line.split()
    return not bound or _COMPARISONS[bound[0]](_numbers(version), _numbers(bound[1]))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
