"""Finds newer versions of all that is pinned, tries our patches on them, and writes the pins."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent

from builder.base.environments import ensure_environment
from builder.base.errors import BuildError, run_main
from builder.base.paths import BUILD, BUILDER, ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tools.update.pins import Pinned

HERE = ROOT / "tools" / "update"
INSIDE = "CLASSIFY_UPDATE"
"""Set for the process that runs in the environment of `requirements.in`."""
REQUIREMENTS = "requirements"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    usage = argparse.ArgumentParser("python -m tools.update", description=__doc__)
    add = usage.add_argument
    add(
        "package", nargs="?", metavar="PACKAGE",
        help="a source, a wheel, or a package of the requirements files; `requirements` for all of "
        "those (default: everything)",
    )  # fmt: skip
    add("version", nargs="?", metavar="VERSION", help="the version to take (default: the newest)")
    add(
        "--check", action="store_true",
        help="write nothing; exit with 1 if something is behind that is not held",
    )  # fmt: skip
    add(
        "--audit", type=Path, metavar="SBOM",
        help="what is known to be wrong with the parts of a zip, or of the SBOM in it; exit with 1 "
        "if something is",
    )  # fmt: skip
    add("--osv", metavar="ADDRESS", help=argparse.SUPPRESS)  # for tests, and mirrors
    return usage


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    usage = parser()
    options = usage.parse_args(arguments)
    if options.audit and (options.package or options.check):
        usage.error("--audit goes alone")
    if options.version and options.package == REQUIREMENTS:
        usage.error(f"{REQUIREMENTS}: expected no version")
    if os.environ.get(INSIDE) != str(BUILDER):
        python = ensure_environment("update", HERE / "requirements.txt")
        command = [str(python), "-m", "tools.update", *arguments]
        sys.stdout.flush()
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, INSIDE: str(BUILDER)}
        ).returncode
    return _audit(options) if options.audit else _update(options)


def _audit(options: argparse.Namespace) -> int:
    from tools.update.vulnerabilities import OSV, ask

    answers = ask(options.audit, options.osv or OSV)
    for answer in answers:
        if answer.advisories is None:
            known = "not to be asked about by what its SBOM says"
        else:
            known = ", ".join(answer.advisories) or "nothing known"
        print(f"{answer.name} {answer.version}: {known}")
    affected = sum(bool(answer.advisories) for answer in answers)
    print(f"{affected} of {len(answers)} parts have known vulnerabilities")
    return 1 if affected else 0


def _update(options: argparse.Namespace) -> int:
    from tools.update import pins, requirements

    every = pins.pinned()
    names = {pin.name for pin in every}
    files = requirements.sources()
    locked = {name for file in files for name in requirements.versions(file.with_suffix(".txt"))}
    name = options.package
    if name and name not in names | locked | {REQUIREMENTS}:
        raise BuildError(
            f"expected a package that is pinned, found {name}",
            f"sources and wheels: {', '.join(sorted(names))}; the others are in the requirements "
            "files",
        )
    changed, behind, failed = _update_pins(
        [pin for pin in every if name in (None, pin.name)], options.version or "", options.check
    )
    for file in files:
        target = file.with_suffix(".txt")
        old = requirements.versions(target)
        shown = target.relative_to(ROOT).as_posix()
        try:
            if name in (None, REQUIREMENTS):
                text = requirements.newest(file)
            elif name in old:
                exact = f"{name}=={options.version}" if options.version else name
                text = requirements.newest(file, [exact])
            else:
                continue
        except requirements.NoSolution as error:
            if not options.version:
                raise
            _row(shown, str(name), old[str(name)], options.version, "stays: see its .in file")
            print(indent(str(error), "    "))
            continue
        new = requirements.parsed(text)
        differing = sorted(each for each in old | new if old.get(each) != new.get(each))
        for each in differing:
            _row(shown, each, old.get(each, "-"), new.get(each, "-"), "behind")
        if not differing:
            _row(shown, f"{len(old)} packages", "", "", "current")
        behind += len(differing)
        if not options.check and text != target.read_text("utf-8"):
            target.write_text(text, "utf-8")
            changed.append(target)
    for path in changed:
        print(f"written: {path.relative_to(ROOT).as_posix()}")
    if changed:
        print("next: python build_zip.py && python -m tests && python -m bench guard")
    return 1 if failed or (options.check and behind) else 0


def _update_pins(pins: list[Pinned], wanted: str, check: bool) -> tuple[list[Path], int, bool]:
    """Find, try and write; returns the files that were written, how many pins are behind and not
    held, and whether a new version does not fit.
    """
    from builder.native.debian import DebianArchive
    from builder.native.steps import BuildFolder
    from tools.update import pins as known
    from tools.update import trial
    from tools.update.index import Index

    archive = DebianArchive(BuildFolder(BUILD / "update", 1), known.SUITES)
    index = Index()
    tried: dict[tuple[str, str], list[str]] = {}
    taken = []
    behind = 0
    failed = False
    missing: list[BuildError] = []
    for pin in pins:
        where = f"{pin.what} {pin.python}".strip()
        try:
            known.find(pin, index, archive, wanted)
        except known.NotThere as error:
            # A version need not be for every Python: that is wrong only if it is for none.
            missing.append(error)
            if not wanted or len(missing) == len(pins):
                raise missing[0] from error
            _row(where, pin.name, pin.version, "", f"stays: there is no {wanted} for it")
            continue
        if not pin.behind:
            _row(where, pin.name, pin.version, "", "current")
            continue
        if pin.hold and not wanted:
            _row(where, pin.name, pin.version, pin.newest, f"held: {pin.hold}")
            continue
        behind += 1
        if pin.what == "source":
            key = (pin.name, pin.newest)
            if key not in tried:
                assert pin.file is not None
                tried[key] = trial.problems(pin, pin.file(BUILD / "native" / "sources"))
            if tried[key]:
                failed = True
                _row(where, pin.name, pin.version, pin.newest, "does not fit")
                for problem in tried[key]:
                    print(f"    {problem}")
                continue
        _row(where, pin.name, pin.version, pin.newest, "behind")
        taken.append(pin)
    changed = known.write(taken) if taken and not check else []
    return changed, behind, failed


def _row(where: str, name: str, old: str, new: str, state: str) -> None:
    versions = f"{old} -> {new}" if new else old
    print(f"{where:<34} {name:<16} {versions:<40} {state}".rstrip())


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
