"""The providers by the names that `--runtime` has for them."""

from __future__ import annotations

from collections.abc import Callable

from builder.base.console import Console
from builder.packages import Options, Runtime, compiled, prebuilt, wheels

Provider = Callable[[str, Options, Console], Runtime]

PROVIDERS: dict[str, Provider] = {
    "auto": compiled.auto,
    "container": compiled.container,
    "local": compiled.local,
    "prebuilt": prebuilt.provide,
    "wheels": wheels.provide,
}
