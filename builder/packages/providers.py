"""The choices of --runtime: name -> the function that returns a runtime for a Python version."""

from collections.abc import Callable
from dataclasses import replace

from builder.base.console import Console
from builder.base.errors import BuildError
from builder.packages import Runtime, RuntimeOptions, compiled, wheels

Provider = Callable[[str, RuntimeOptions, Console], Runtime]


def auto(python: str, options: RuntimeOptions, console: Console) -> Runtime:
    """Return compiled packages from the cache or a container engine, else ready-made wheels."""
    if compiled.is_cached(python, options):
        return compiled.load(python, options)
    engine = options.engine or compiled.find_engine()
    if engine:
        try:
            return compiled.container(python, replace(options, engine=engine), console)
        except BuildError as error:
            console.warn(f"{error}\n{error.hint}")
            reason = f"{engine} could not build Dockerfile.builder"
    else:
        reason = "no container engine answers"
    console.note(f"{reason}: using ready-made wheels (or choose --runtime local)")
    console.reminders.append(
        "built from ready-made wheels: compiled packages make it 40 % of the size"
    )
    return wheels.provide(python, options, console)


PROVIDERS: dict[str, Provider] = {
    "auto": auto,
    "container": compiled.container,
    "local": compiled.local,
    "wheels": wheels.provide,
}
