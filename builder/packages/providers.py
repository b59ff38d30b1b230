"""The choices of --runtime: name -> the function that returns a runtime for a Python version."""

from collections.abc import Callable

from builder.base.console import Console
from builder.base.errors import BuildError
from builder.packages import Runtime, RuntimeOptions, compiled, wheels

Provider = Callable[[str, RuntimeOptions, Console], Runtime]


def auto(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Return compiled packages from the cache or a container engine, else ready-made wheels."""
    if compiled.is_cached(python, options):
        return compiled.load(python, options)
    try:
        return compiled.container(python, options, console)
    except BuildError as error:
        console.warn(
            f"{error}\n{error.hint}\nUsing ready-made wheels.",
            reminder="built from ready-made wheels: compiled packages make it 40 % of the size",
        )
    return wheels.provide(python, options, console)


PROVIDERS: dict[str, Provider] = {
    "auto": auto,
    "container": compiled.container,
    "local": compiled.local,
    "wheels": wheels.provide,
}
