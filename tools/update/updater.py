"""Update what was asked for, and print a row for everything that is pinned."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from builder.base.errors import BuildError
from builder.base.paths import BUILD, ROOT
from builder.base.runtime_images import TABLE
from builder.native.debian import DebianArchive
from builder.native.steps import BuildFolder
from tools.update import pins, requirements, runtime_images
from tools.update.index import Index
from tools.update.patches import find_problems
from tools.update.pins import Pin, Release


@dataclass
class Updater:
    """Updates pins, requirements files and images.

    Attributes:
        check: whether nothing is written.
        written: the files that were changed.
        behind: how many pins are behind and not held.
        failed: whether our patches do not fit a new version.
    """

    check: bool
    written: list[Path] = field(default_factory=list)
    behind: int = 0
    failed: bool = False

    def update(self, name: str | None) -> None:
        """Update a package, "requirements", "images", or by default all but the images.

        Raises:
            BuildError: nothing of this name is pinned.
        """
        if name == "images":
            self.update_images()
            return
        all_pins, sources = pins.read_pins(), requirements.find_sources()
        names = {pin.name for pin in all_pins}
        locked = {package for each in sources for package in requirements.read_versions(each)}
        if name and name not in names | locked | {"requirements"}:
            raise BuildError(
                f"expected a package that is pinned, found {name}",
                f"sources and wheels: {', '.join(sorted(names))}; others: see the requirements "
                "files",
            )
        self.update_pins([pin for pin in all_pins if name in (None, pin.name)])
        for source in sources:
            if name in (None, "requirements"):
                self.update_requirements(source)
            elif name in requirements.read_versions(source):
                self.update_requirements(source, name)
        for path in self.written:
            print(f"written: {path.relative_to(ROOT).as_posix()}")
        if self.written:
            print("next: python3 build_zip.py && python3 -m tests && python3 -m bench guard")

    def update_pins(self, wanted: list[Pin]) -> None:
        """Find newer versions of sources and wheels, try our patches, and write the pins."""
        archive, index = DebianArchive(BuildFolder(BUILD / "update", 1), pins.SUITES), Index()
        taken = [
            (pin, release)
            for pin in wanted
            if self._is_taken(pin, release := pins.find_newest(pin, index, archive))
        ]
        if taken and not self.check:
            self.written += pins.write(taken)

    def _is_taken(self, pin: Pin, release: Release) -> bool:
        """Print a pin's row; return whether the release takes its place."""
        problems: list[str] = []
        if release.version == pin.version:
            state = "current"
        elif pin.hold:
            state = f"held: {pin.hold}"
        else:
            self.behind += 1
            if pin.kind == "source":
                archive = release.fetch(BUILD / "native" / "sources")
                problems = find_problems(pin, release.version, archive)
            state = "does not fit" if problems else "behind"
        _print_row(f"{pin.kind} {pin.python}", pin.name, pin.version, release.version, state)
        for problem in problems:
            print(f"    {problem}")
        self.failed |= bool(problems)
        return state == "behind"

    def update_requirements(self, source: Path, package: str = "") -> None:
        """Compile a requirements file with newer versions of all its packages, or of one."""
        target = source.with_suffix(".txt")
        place = target.relative_to(ROOT).as_posix()
        old = requirements.read_versions(source)
        text = requirements.compile_source(source, package)
        new = requirements.parse_versions(text)
        changed = sorted(each for each in old | new if old.get(each) != new.get(each))
        for each in changed:
            _print_row(place, each, old.get(each, "-"), new.get(each, "-"), "behind")
        if not changed:
            _print_row(place, f"{len(old)} packages", "", "", "current")
        self.behind += len(changed)
        if not self.check and text != target.read_text("utf-8"):
            target.write_text(text, "utf-8")
            self.written.append(target)

    def update_images(self) -> None:
        """Read the Dockerfiles of the platforms' images again."""
        for platform, python, old, found in runtime_images.update_images(TABLE, self.check):
            state = "current" if found == old else "behind"
            self.behind += found != old
            _print_row(f"image {python}", platform, old or "-", found, state)


def _print_row(place: str, name: str, old: str, new: str, state: str) -> None:
    versions = f"{old} -> {new}" if new not in ("", old) else old
    print(f"{place:<34} {name:<16} {versions:<40} {state}".rstrip())
