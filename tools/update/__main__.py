"""Find newer versions of everything pinned, try our patches on them, and write the pins."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent

from builder.base.environments import ensure_environment, is_inside, reexec
from builder.base.errors import BuildError, run_main
from builder.base.paths import BUILD, ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tools.update.pins import Pin, Release

ENVIRONMENT = "update"
REQUIREMENTS = "requirements"
IMAGES = "images"


def main(arguments: list[str]) -> int:
    """Run the command line in its environment; return the exit status."""
    usage = argparse.ArgumentParser("python3 -m tools.update", description=__doc__)
    usage.add_argument(
        "package",
        nargs="?",
        metavar="PACKAGE",
        help="a source, a wheel, or a package of the requirements files; `requirements` for all "
        "requirements files (default: all of these); `images` for the platforms' images",
    )
    usage.add_argument(
        "version", nargs="?", metavar="VERSION", help="the version to take (default: the newest)"
    )
    text = "write nothing; exit with 1 if something is behind that is not held"
    usage.add_argument("--check", action="store_true", help=text)
    options = usage.parse_args(arguments)
    if options.version and options.package in (REQUIREMENTS, IMAGES):
        usage.error(f"{options.package}: expected no version")
    if not is_inside(ENVIRONMENT):
        python = ensure_environment(ENVIRONMENT, Path(__file__).with_name("requirements.txt"))
        return reexec(ENVIRONMENT, python, ["-m", "tools.update", *arguments])
    return update(options)


def update(options: argparse.Namespace) -> int:
    """Update the pins and requirements files that were asked for; return the exit status."""
    from tools.update import pins, requirements

    if options.package == IMAGES:
        return _update_images(options.check)
    all_pins = pins.read_pins()
    sources = requirements.find_sources()
    names = {pin.name for pin in all_pins}
    locked = {name for each in sources for name in requirements.read_versions(each)}
    name = options.package
    if name and name not in names | locked | {REQUIREMENTS}:
        raise BuildError(
            f"expected a package that is pinned, found {name}",
            f"sources and wheels: {', '.join(sorted(names))}; others: see the requirements files",
        )
    updater = Updater(options.version or "", options.check)
    updater.update_pins([pin for pin in all_pins if name in (None, pin.name)])
    for source in sources:
        if name in (None, REQUIREMENTS):
            updater.update_requirements(source)
        elif name in requirements.read_versions(source):
            updater.update_requirements(source, name)
    for path in updater.written:
        print(f"written: {path.relative_to(ROOT).as_posix()}")
    if updater.written:
        print("next: python3 build_zip.py && python3 -m tests && python3 -m bench guard")
    return 1 if updater.failed or (options.check and updater.behind) else 0


def _update_images(check: bool) -> int:
    """Update images.toml and print a row for each image; return the exit status."""
    from builder.base.images import TABLE
    from tools.update.images import update_images

    behind = 0
    for platform, python, old, found in update_images(TABLE, check):
        behind += found != old
        state = "current" if found == old else "behind"
        _print_row(f"image {python}", platform, old or "-", found if found != old else "", state)
    return 1 if check and behind else 0


@dataclass
class Updater:
    """Updates pins and requirements files, and prints a row for each.

    Attributes:
        version: the version to take; empty for the newest.
        check: whether nothing is written.
        written: the files that were changed.
        behind: how many pins are behind and not held.
        failed: whether our patches do not fit a new version.
    """

    version: str
    check: bool
    written: list[Path] = field(default_factory=list)
    behind: int = 0
    failed: bool = False

    def update_pins(self, pins: list[Pin]) -> None:
        """Find newer versions of sources and wheels, try our patches, and write the pins.

        Raises:
            BuildError: the version is not available for any Python.
        """
        from builder.native.debian import DebianArchive
        from builder.native.steps import BuildFolder
        from tools.update.index import Index
        from tools.update.pins import SUITES, NotAvailableError, find_newest, write

        archive = DebianArchive(BuildFolder(BUILD / "update", 1), SUITES)
        index = Index()
        taken: list[tuple[Pin, Release]] = []
        missing: list[BuildError] = []
        for pin in pins:
            try:
                release = find_newest(pin, index, archive, self.version)
            except NotAvailableError as error:
                # A version need not be for every Python: that is wrong only if it is for none.
                missing.append(error)
                if not self.version or len(missing) == len(pins):
                    raise missing[0] from error
                state = f"stays: there is no {self.version} for it"
                _print_row(f"{pin.kind} {pin.python}", pin.name, pin.version, "", state)
            else:
                if self._is_taken(pin, release):
                    taken.append((pin, release))
        if taken and not self.check:
            self.written += write(taken)

    def _is_taken(self, pin: Pin, release: Release) -> bool:
        """Print a pin's row; return whether the release takes its place."""
        from tools.update.patches import find_problems

        problems: list[str] = []
        if release.version == pin.version:
            state = "current"
        elif pin.hold and not self.version:
            state = f"held: {pin.hold}"
        else:
            self.behind += 1
            if pin.kind == "source":
                archive = release.fetch(BUILD / "native" / "sources")
                problems = find_problems(pin, release.version, archive)
            state = "does not fit" if problems else "behind"
        newest = release.version if release.version != pin.version else ""
        _print_row(f"{pin.kind} {pin.python}", pin.name, pin.version, newest, state)
        for problem in problems:
            print(f"    {problem}")
        self.failed |= bool(problems)
        return state == "behind"

    def update_requirements(self, source: Path, package: str = "") -> None:
        """Compile a requirements file with newer versions of all its packages, or of one."""
        from tools.update import requirements

        target = source.with_suffix(".txt")
        place = target.relative_to(ROOT).as_posix()
        old = requirements.read_versions(source)
        exact = f"{package}=={self.version}" if self.version else package
        try:
            text = requirements.compile_source(source, exact)
        except requirements.NoSolutionError as error:
            if not self.version:
                raise
            _print_row(place, package, old[package], self.version, "stays: see its .in file")
            print(indent(str(error), "    "))
            return
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


def _print_row(place: str, name: str, old: str, new: str, state: str) -> None:
    versions = f"{old} -> {new}" if new else old
    print(f"{place:<34} {name:<16} {versions:<40} {state}".rstrip())


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
