"""The sources of a build: fetched, verified by their sha256, extracted and patched.

A file is looked for by its sha256 in folders that the user gave. Then come Debian's archive,
through apt, or the package index, through pip; last comes Debian's snapshot service.
"""

import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from builder.base.environments import print_progress
from builder.base.errors import BuildError
from builder.base.files import sha256_of
from builder.native.debian import DebianArchive, find_domain
from builder.native.hashing import digest
from builder.native.pins import Pin, read_pins
from builder.native.steps import FETCH, RECIPE
from builder.native.toolchain import Toolchain

Origin = Callable[[Pin, Path], None]


class Sources:
    """Fetches into BUILD/sources, extracts into BUILD/src.

    Attributes:
        folder: of the extracted sources.
        pins: the pins of the sources by name, for one Python or for all.
    """

    def __init__(self, toolchain: Toolchain, given: Sequence[Path], python: str) -> None:
        self.pins = read_pins(python)
        self.folder = toolchain.folder.path / "src"
        self._toolchain = toolchain
        self._given = given
        suites = {pin.suite for pin in self.pins.values() if pin.suite}
        self._archive = DebianArchive(toolchain.folder, suites)

    def path(self, name: str) -> Path:
        """Return the folder of an extracted source."""
        return self.folder / self.pins[name].key

    def unpack(self, name: str) -> str:
        """Extract and patch a source; return the key of this step."""
        pin = self.pins[name]
        patches = [RECIPE / pin.folder / "patches" / file for file in pin.patches]
        inputs = [pin.sha256, repr(pin.only), *map(digest, patches), digest(Path(__file__))]

        def work(folder: Path) -> None:
            extract(self.fetch(pin), folder, pin.only)
            for patch in patches:
                command = ["patch", "-p1", "--fuzz=0", "-i", str(patch)]
                self._toolchain.run(command, f"src/{folder.name}", cwd=folder)

        return self._toolchain.folder.step(f"src/{pin.key}", inputs, work)

    def fetch(self, pin: Pin) -> Path:
        """Return the verified file of a pin, fetching it if needed.

        Raises:
            BuildError: no origin has it; says for each why, and where to put it by hand.
        """
        destination = self._toolchain.folder.path / "sources" / pin.file
        if destination.exists() and sha256_of(destination) == pin.sha256:
            return destination
        destination.parent.mkdir(parents=True, exist_ok=True)
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


def extract(archive: Path, folder: Path, prefixes: tuple[str, ...]) -> None:
    """Extract an archive without its only top folder; links that lead out of it are left out.

    Args:
        archive: a wheel or a tar file, however compressed.
        folder: gets the content.
        prefixes: beginnings of the paths to extract; empty for all.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
        return
    with tarfile.open(archive) as tar:
        members = [m for m in tar if m.isfile() or m.issym()]
        names = [re.sub(r"^\./", "", m.name) for m in members]
        has_top_folder = len({name.split("/")[0] for name in names}) == 1
        for member, name in zip(members, names, strict=True):
            path = name.partition("/")[2] if has_top_folder else name
            if ".." in path.split("/") or (prefixes and not path.startswith(prefixes)):
                continue
            if member.issym() and (member.linkname.startswith("/") or ".." in member.linkname):
                continue
            member.name = path
            member.mode |= 0o600
            tar.extract(member, folder)
