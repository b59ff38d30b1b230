"""The providers by the names that `--runtime` has for them."""

from __future__ import annotations

from collections.abc import Callable

from builder.base.console import Console
from builder.packages import Runtime, RuntimeOptions, compiled, prebuilt, wheels

Provider = Callable[[str, RuntimeOptions, Console], Runtime]

PROVIDERS: dict[str, Provider] = {
    "auto": compiled.auto,
    "container": compiled.container,
    "local": compiled.local,
    "prebuilt": prebuilt.provide,
    "wheels": wheels.provide,
}
