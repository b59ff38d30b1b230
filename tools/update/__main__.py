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


@dataclass
class Progress:
    """What the update has done so far.

    Attributes:
        written: the files that were changed.
        behind: how many pins are behind and not held.
        failed: whether our patches do not fit a new version.
    """

    written: list[Path] = field(default_factory=list)
    behind: int = 0
    failed: bool = False


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    usage = argparse.ArgumentParser("python3 -m tools.update", description=__doc__)
    usage.add_argument(
        "package",
        nargs="?",
        metavar="PACKAGE",
        help="a source, a wheel, or a package of the requirements files; `requirements` for all "
        "requirements files (default: everything)",
    )
    usage.add_argument(
        "version", nargs="?", metavar="VERSION", help="the version to take (default: the newest)"
    )
    usage.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 if something is behind that is not held",
    )
    return usage


def main(arguments: list[str]) -> int:
    """Run the command line in its environment; return the exit status."""
    usage = parser()
    options = usage.parse_args(arguments)
    if options.version and options.package == REQUIREMENTS:
        usage.error(f"{REQUIREMENTS}: expected no version")
    if not is_inside(ENVIRONMENT):
        python = ensure_environment(ENVIRONMENT, Path(__file__).with_name("requirements.txt"))
        return reexec(ENVIRONMENT, python, ["-m", "tools.update", *arguments])
    return update(options)


def update(options: argparse.Namespace) -> int:
    """Update the pins and requirements files that were asked for; return the exit status."""
    from tools.update import pins, requirements

    all_pins = pins.read_pins()
    sources = requirements.find_sources()
    names = {pin.name for pin in all_pins}
    locked = {name for each in sources for name in requirements.read_versions(each)}
    name = options.package
    if name and name not in names | locked | {REQUIREMENTS}:
        raise BuildError(
            f"expected a package that is pinned, found {name}",
            f"sources and wheels: {', '.join(sorted(names))}; the others are in the requirements "
            "files",
        )
    progress = Progress()
    wanted = [pin for pin in all_pins if name in (None, pin.name)]
    update_pins(wanted, options.version or "", options.check, progress)
    for source in sources:
        if name in (None, REQUIREMENTS) or name in requirements.read_versions(source):
            update_requirements(source, options, progress)
    for path in progress.written:
        print(f"written: {path.relative_to(ROOT).as_posix()}")
    if progress.written:
        print("next: python3 build_zip.py && python3 -m tests && python3 -m bench guard")
    return 1 if progress.failed or (options.check and progress.behind) else 0


def update_pins(pins: list[Pin], wanted: str, check: bool, progress: Progress) -> None:
    """Find newer versions of sources and wheels, try our patches on them, and write the pins.

    Args:
        pins: those to update.
        wanted: the version to take; empty for the newest.
        check: write nothing.
        progress: is updated.

    Raises:
        BuildError: the wanted version is not available for any Python.
    """
    from builder.native.debian import DebianArchive
    from builder.native.steps import BuildFolder
    from tools.update.index import Index
    from tools.update.pins import SUITES, NotAvailableError, find_newest, write

    archive = DebianArchive(BuildFolder(BUILD / "update", 1), SUITES)
    index = Index()
    taken: list[tuple[Pin, Release]] = []
    problems: dict[tuple[str, str], list[str]] = {}
    unavailable = 0
    for pin in pins:
        try:
            newest = find_newest(pin, index, archive, wanted)
        except NotAvailableError:
            # A version need not be for every Python: that is wrong only if it is for none.
            unavailable += 1
            if not wanted or unavailable == len(pins):
                raise
            _print_row(pin.place, pin.name, pin.version, "", f"stays: there is no {wanted} for it")
            continue
        if _is_taken(pin, newest, bool(wanted), problems, progress):
            taken.append((pin, newest))
    if taken and not check:
        progress.written += write(taken)


def _is_taken(
    pin: Pin,
    newest: Release,
    wanted: bool,
    problems: dict[tuple[str, str], list[str]],
    progress: Progress,
) -> bool:
    """Print the row of a pin; return whether its newest version takes its place.

    Args:
        pin: the pin.
        newest: what the index or the archive has.
        wanted: whether the user named the version, which takes a held pin too.
        problems: of the sources that were tried, by name and version.
        progress: is updated.
    """
    from tools.update import patches

    if newest.version == pin.version:
        _print_row(pin.place, pin.name, pin.version, "", "current")
        return False
    if pin.hold and not wanted:
        _print_row(pin.place, pin.name, pin.version, newest.version, f"held: {pin.hold}")
        return False
    progress.behind += 1
    found = []
    if pin.kind == "source":
        key = (pin.name, newest.version)
        if key not in problems:
            archive = newest.fetch(BUILD / "native" / "sources")
            problems[key] = patches.find_problems(pin, newest.version, archive)
        found = problems[key]
    state = "does not fit" if found else "behind"
    _print_row(pin.place, pin.name, pin.version, newest.version, state)
    for problem in found:
        print(f"    {problem}")
        progress.failed = True
    return not found


def update_requirements(source: Path, options: argparse.Namespace, progress: Progress) -> None:
    """Compile one requirements file again, with newer versions of all or one of its packages."""
    from tools.update import requirements

    target = source.with_suffix(".txt")
    place = target.relative_to(ROOT).as_posix()
    old = requirements.read_versions(source)
    name = "" if options.package in (None, REQUIREMENTS) else options.package
    exact = f"{name}=={options.version}" if options.version else name
    try:
        text = requirements.compile_source(source, exact)
    except requirements.NoSolutionError as error:
        if not options.version:
            raise
        _print_row(place, name, old[name], options.version, "stays: see its .in file")
        print(indent(str(error), "    "))
        return
    new = requirements.parse_versions(text)
    changed = sorted(each for each in old | new if old.get(each) != new.get(each))
    for each in changed:
        _print_row(place, each, old.get(each, "-"), new.get(each, "-"), "behind")
    if not changed:
        _print_row(place, f"{len(old)} packages", "", "", "current")
    progress.behind += len(changed)
    if not options.check and text != target.read_text("utf-8"):
        target.write_text(text, "utf-8")
        progress.written.append(target)


def _print_row(place: str, name: str, old: str, new: str, state: str) -> None:
    versions = f"{old} -> {new}" if new else old
    print(f"{place:<34} {name:<16} {versions:<40} {state}".rstrip())


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
