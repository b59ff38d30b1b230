"""Update what was asked for, with a row for everything that is pinned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from builder.base.errors import BuildError
from builder.base.paths import BUILD, ROOT
from builder.base.runtime_images import TABLE
from builder.native.debian import DebianArchive
from builder.native.steps import BuildFolder
from tools.update import pins, requirements, runtime_images
from tools.update.index import Index
from tools.update.pins import Pin


class Row(NamedTuple):
    """A pinned version and the newest one; `hold` says why the pin is not updated."""

    place: str
    name: str
    old: str
    new: str
    hold: str = ""

    @property
    def is_behind(self) -> bool:
        """Return whether the pin is to be updated."""
        return self.new != self.old and not self.hold

    def __str__(self) -> str:
        versions, state = self.old, "current"
        if self.new != self.old:
            versions = f"{self.old} -> {self.new}"
            state = f"held: {self.hold}" if self.hold else "behind"
        return f"{self.place:<34} {self.name:<16} {versions:<40} {state}".rstrip()


def update(name: str | None, check: bool) -> Iterator[Row]:
    """Update a package, "requirements", "images", or by default all but the images.

    Yields a row for each pin. Files are written when all were taken, but not with `check`.

    Raises:
        BuildError: nothing of this name is pinned, or the index or a mirror does not answer.
    """
    if name == "images":
        for platform, python, old, found in runtime_images.update_images(TABLE, check):
            yield Row(f"image {python}", platform, old, found)
        return
    all_pins, sources = pins.read_pins(), requirements.find_sources()
    names = {pin.name for pin in all_pins}
    locked = {package for each in sources for package in requirements.read_versions(each)}
    if name and name not in names | locked | {"requirements"}:
        raise BuildError(
            f"expected a package that is pinned, found {name}",
            f"sources and wheels: {', '.join(sorted(names))}; others: see the requirements files",
        )
    yield from update_pins([pin for pin in all_pins if name in (None, pin.name)], check)
    for source in sources:
        if name in (None, "requirements"):
            yield from update_requirements(source, "", check)
        elif name in requirements.read_versions(source):
            yield from update_requirements(source, name, check)


def update_pins(wanted: list[Pin], check: bool) -> Iterator[Row]:
    """Find newer versions of sources and wheels, and write their pins."""
    archive, index = DebianArchive(BuildFolder(BUILD / "update", 1), pins.SUITES), Index()
    taken = []
    for pin in wanted:
        release = pins.find_newest(pin, index, archive)
        row = Row(f"{pin.kind} {pin.python}", pin.name, pin.version, release.version, pin.hold)
        yield row
        if row.is_behind:
            taken.append((pin, release))
    if not check:
        pins.write(taken, archive)


def update_requirements(source: Path, package: str, check: bool) -> Iterator[Row]:
    """Compile a requirements file with newer versions of one package, or of all if empty."""
    target = source.with_suffix(".txt")
    place = target.relative_to(ROOT).as_posix()
    text = requirements.compile_source(source, package)
    old, new = requirements.read_versions(source), requirements.parse_versions(text)
    changed = sorted(each for each in old | new if old.get(each) != new.get(each))
    for each in changed:
        yield Row(place, each, old.get(each, "-"), new.get(each, "-"))
    if not changed:
        yield Row(place, f"{len(old)} packages", "", "")
    if not check:
        target.write_text(text, "utf-8")
