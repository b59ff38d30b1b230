"""Debian's archive of source packages, through this machine's apt."""

import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from builder.base.environments import print_progress
from builder.base.errors import BuildError
from builder.native.steps import BuildFolder

# Every apt has this program, but not on the PATH.
HELPER = "/usr/lib/apt/apt-helper"


class DebianArchive:
    """Lists and downloads source packages of some suites, with package lists of its own."""

    def __init__(self, folder: BuildFolder, suites: Collection[str]) -> None:
        self._folder = folder
        self._suites = sorted(suites)
        self._home = folder.path / "apt"

    def files(self, name: str, version: str = "") -> list[tuple[str, str]]:
        """Return the files of a source package: (URL, sha256) each; none if it is not there.

        The version is Debian's; without one it is the newest.
        """
        package = f"{name}={version}" if version else name
        command = ["apt-get", *self._options(), "--print-uris", "--only-source", "source", package]
        listing = subprocess.run(command, capture_output=True, text=True).stdout
        return re.findall(r"^'([^']+)' \S+ \d+ SHA256:([0-9a-f]{64})", listing, re.M)

    def versions(self, name: str) -> list[tuple[str, str]]:
        """Return the versions of a source package: (version, suite) each; none if not there."""
        command = ["apt-cache", *self._options(), "madison", name]
        listing = subprocess.run(command, capture_output=True, text=True).stdout
        return re.findall(r"^ *\S+ \| +(\S+) \| \S+ (\w+)/main Sources", listing, re.M)

    def download(self, url: str, destination: Path) -> None:
        """Download one of the files."""
        helper = [shutil.which("apt-helper") or HELPER, *self._options(), "download-file", url]
        self._folder.run([*helper, str(destination)], "fetch")

    def _options(self) -> list[str]:
        """Return the options that separate our lists from the system's; update them once."""
        home = self._home
        options = [
            f"Dir::Etc::SourceList={home / 'sources.list'}",
            "Dir::Etc::SourceParts=-",
            f"Dir::State::Lists={home / 'lists'}",
            f"Dir::Cache={home / 'cache'}",
            "APT::Sandbox::User=root",
            "Acquire::Retries=3",
        ]
        arguments = [word for option in options for word in ("-o", option)]
        if not (home / "ready").exists():
            (home / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (home / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
            # Trusted: the keys of later suites need not be here, and we check every sha256.
            mirror = find_mirror()
            lines = (f"deb-src [trusted=yes] {mirror} {suite} main\n" for suite in self._suites)
            (home / "sources.list").write_text("".join(lines))
            print_progress("reading Debian's lists of source packages")
            self._folder.run(["apt-get", *arguments, "update"], "fetch")
            (home / "ready").touch()
        return arguments


def find_domain() -> str:
    """Return Debian's own domain, from a Debian's description of itself.

    Raises:
        BuildError: this system is not Debian.
    """
    release = Path("/etc/os-release")
    text = release.read_text("utf-8") if release.exists() else ""
    home = re.search(r'^HOME_URL="?https?://(?:www\.)?([\w.-]+)', text, re.MULTILINE)
    if home is None or not re.search(r"^ID=debian$", text, re.MULTILINE):
        raise BuildError("not a Debian system: no mirror configured")
    return home[1]


def find_mirror() -> str:
    """Return the URL of the Debian archive that this machine's apt is set up with.

    Raises:
        BuildError: apt is set up with none.
    """
    for path in sorted(Path("/etc/apt").rglob("*")):
        if path.suffix in (".list", ".sources") and path.is_file():
            urls = re.findall(r"(?:https?|file):/[^\s\]]+", path.read_text("utf-8", "replace"))
            for url in urls:
                if re.search(r"/debian/?$", url):
                    return str(url)
    raise BuildError("no Debian archive is set up under /etc/apt", "use --sources DIR")
