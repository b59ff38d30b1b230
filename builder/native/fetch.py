"""Fetch the file of a source and verify that it is the pinned one.

It is looked for by its sha256 in folders that the user gave. Then come Debian's archive, through
apt, or the package index, through pip; last comes Debian's snapshot service.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from builder.base.environments import print_progress
from builder.base.errors import BuildError
from builder.base.files import sha256_of
from builder.native.debian import DebianArchive, find_domain
from builder.native.pins import Pin
from builder.native.steps import FETCH, RECIPE
from builder.native.toolchain import Toolchain

Origin = Callable[[Pin, Path], None]


class Fetcher:
    """Fetches sources' files into BUILD/sources."""

    def __init__(self, toolchain: Toolchain, archive: DebianArchive, given: Sequence[Path]) -> None:
        self._toolchain = toolchain
        self._archive = archive
        self._given = given
        self._folder = toolchain.folder.path / "sources"

    def fetch(self, pin: Pin) -> Path:
        """Return the verified file of a pin, fetching it if needed.

        Raises:
            BuildError: no origin has it; says for each why, and where to put it by hand.
        """
        destination = self._folder / pin.file
        if destination.exists() and sha256_of(destination) == pin.sha256:
            return destination
        self._folder.mkdir(parents=True, exist_ok=True)
        part = destination.with_name(destination.name + ".part")
        reasons = []
        for name, origin in self._origins(pin):
            part.unlink(missing_ok=True)
            try:
                origin(pin, part)
                if sha256_of(part) == pin.sha256:
                    return part.replace(destination)
                reasons.append(f"{name}: delivered a file with another sha256")
            except (BuildError, OSError) as error:
                reasons.append(f"{name}: {error}")
        part.unlink(missing_ok=True)
        raise BuildError(
            f"could not find the source {pin.file} (sha256 {pin.sha256})\n  "
            + "\n  ".join(reasons),
            "put it into a folder and name that with --sources DIR",
        )

    def _origins(self, pin: Pin) -> Iterator[tuple[str, Origin]]:
        """Yield the origins that can have a file, with their names."""
        if self._given:
            yield "--sources", self._copy_given_file
        if pin.suite:
            yield "apt", self._download_from_debian
        else:
            yield "package index", self._download_from_index
        if pin.sha1:
            yield "Debian's snapshot service", self._download_snapshot

    def _copy_given_file(self, pin: Pin, part: Path) -> None:
        for folder in self._given:
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            files.sort(key=lambda path: path.name != pin.file)  # the likely one first
            for path in files:
                if sha256_of(path) == pin.sha256:
                    shutil.copyfile(path, part)
                    return
        raise BuildError("no file there has this sha256")

    def _download_from_debian(self, pin: Pin, part: Path) -> None:
        # If the archive has moved on, another revision may still have the same upstream file.
        for version in (pin.revision, ""):
            for url, sha256 in self._archive.files(pin.name, version):
                if sha256 == pin.sha256:
                    print_progress(f"fetching {pin.file}")
                    self._archive.download(url, part)
                    return
        raise BuildError(f"the archive no longer lists {pin.file} ({pin.suite})")

    def _download_from_index(self, pin: Pin, part: Path) -> None:
        print_progress(f"fetching {pin.file}")
        scratch = part.with_name(f"pip-{pin.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        requirements = scratch / "requirements.txt"
        requirements.write_text(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n")
        kind = "--only-binary" if pin.file.endswith(".whl") else "--no-binary"
        command = ["python", "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
        command += ["--ignore-requires-python"]  # the source is for another Python
        # pip asks a source package for its metadata: the pinned tools and backend/ answer.
        command += ["--no-build-isolation", kind, ":all:", "-d", str(scratch)]
        command += ["-r", str(requirements)]
        try:
            self._toolchain.run(command, FETCH, env={"PYTHONPATH": str(RECIPE / "backend")})
            (scratch / pin.file).replace(part)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _download_snapshot(self, pin: Pin, part: Path) -> None:
        url = f"https://snapshot.{find_domain()}/file/{pin.sha1}"
        self._archive.download(url, part)
