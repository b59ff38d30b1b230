"""Fetch a source's file and prove that it is the pinned one.

It is looked for by its sha256 in folders that were named, then in the Debian archive that apt is
set up with or in pip's package index, and last at Debian's snapshot service.
"""

import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from builder.base.errors import BuildError
from builder.base.files import sha256_of
from builder.native.debian import Archive, domain
from builder.native.pins import Pin
from builder.native.steps import HERE, say
from builder.native.toolchain import Toolchain

SNAPSHOT_SECONDS = 10


class Fetcher:
    """Keeps files in BUILD/sources."""

    def __init__(self, toolchain: Toolchain, archive: Archive, given: Sequence[Path]) -> None:
        self._toolchain = toolchain
        self._archive = archive
        self._given = given
        self._store = toolchain.builder.folder / "sources"

    def fetch(self, pin: Pin) -> Path:
        """The file of a source's pin, verified.

        Raises:
            BuildError: nobody has it; says what was tried, and where to put it by hand.
        """
        target = self._store / pin.file
        if target.exists() and sha256_of(target) == pin.sha256:
            return target
        self._store.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        tried = []
        for origin in (self._from_given, self._from_debian, self._from_index, self._from_snapshot):
            part.unlink(missing_ok=True)
            reason = origin(pin, part)
            if reason:
                tried.append(reason)
            elif part.exists():
                if sha256_of(part) == pin.sha256:
                    part.replace(target)
                    return target
                tried.append(f"{origin.__name__[6:]}: delivered a file with another sha256")
                part.unlink()
        raise BuildError(
            f"the source {pin.file} is nowhere to be found (sha256 {pin.sha256})\n  "
            + "\n  ".join(tried),
            "put it into a folder and name that with --sources DIR",
        )

    def _from_given(self, pin: Pin, part: Path) -> str:
        for folder in self._given:
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            files.sort(key=lambda path: path.name != pin.file)  # the likely one first
            for path in files:
                if sha256_of(path) == pin.sha256:
                    shutil.copyfile(path, part)
                    return ""
        return "--sources: no file there has this sha256" if self._given else ""

    def _from_debian(self, pin: Pin, part: Path) -> str:
        if not pin.suite:
            return ""
        try:
            # If the archive has moved on, another revision may still have the same upstream file.
            for version in (pin.revision, ""):
                for address, sha256 in self._archive.files(pin.name, version):
                    if sha256 == pin.sha256:
                        say(f"fetching {pin.file}")
                        self._archive.download(address, part)
                        return ""
        except BuildError as error:
            return f"apt: {error}"
        return f"apt: the archive no longer lists {pin.file} ({pin.suite})"

    def _from_index(self, pin: Pin, part: Path) -> str:
        if pin.suite:
            return ""
        say(f"fetching {pin.file}")
        scratch = part.with_name(f"pip-{pin.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        wanted = scratch / "requirements.txt"
        wanted.write_text(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n")
        kind = "--only-binary" if pin.file.endswith(".whl") else "--no-binary"
        command = ["python", "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
        command += ["--ignore-requires-python"]  # it is another Python that the source is for
        # pip asks a source package for its metadata: the pinned tools and the stand-in answer.
        command += ["--no-build-isolation", kind, ":all:", "-d", str(scratch), "-r", str(wanted)]
        try:
            self._toolchain.run(command, "fetch", env={"PYTHONPATH": str(HERE / "backend")})
            (scratch / pin.file).replace(part)
        except (BuildError, OSError) as error:
            return f"package index: {error}"
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return ""

    def _from_snapshot(self, pin: Pin, part: Path) -> str:
        if not pin.sha1:
            return ""
        try:
            address = f"https://snapshot.{domain()}/file/{pin.sha1}"
            answer = urllib.request.urlopen(address, timeout=SNAPSHOT_SECONDS)
            with answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except (BuildError, urllib.error.URLError, OSError) as error:
            return f"Debian's snapshot service: {error}"
        return ""
