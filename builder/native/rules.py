"""The rules of an `imports.toml`, for one version of the package."""

from builder.native.imports import Rules
from builder.native.pins import name_of, of_version


def for_version(table: Rules, version: str) -> Rules:
    """The rules that are for a version, each with both of its keys."""
    return {
        module: {
            "defer": [name_of(line) for line in of_version(rule.get("defer", ()), version)],
            "instead": {
                name_of(line): rule["instead"][line]
                for line in of_version(rule.get("instead", ()), version)
            },
        }
        for module, rule in table.items()
    }
