"""Debian's archive of source packages, through this machine's apt."""

import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from builder.base.environments import print_progress
from builder.base.errors import BuildError
from builder.native.steps import FETCH, BuildFolder

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
        listing = self._query("apt-get", "--print-uris", "--only-source", "source", package)
        return re.findall(r"^'([^']+)' \S+ \d+ SHA256:([0-9a-f]{64})", listing, re.M)

    def versions(self, name: str) -> list[tuple[str, str]]:
        """Return the versions of a source package: (version, suite) each; none if not there."""
        listing = self._query("apt-cache", "madison", name)
        return re.findall(r"^ *\S+ \| +(\S+) \| \S+ (\w+)/main Sources", listing, re.M)

    def download(self, url: str, destination: Path) -> None:
        """Download a file, of the archive or of another http(s) address."""
        helper = shutil.which("apt-helper") or HELPER
        self._run(helper, "download-file", url, str(destination))

    def _run(self, program: str, *arguments: str) -> None:
        self._folder.run([program, *self._options, *arguments], FETCH)

    def _query(self, program: str, *arguments: str) -> str:
        """Return what apt answers from our lists, which are updated once."""
        home = self._home
        if not (home / "ready").exists():
            (home / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (home / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
            # Trusted: the keys of later suites need not be here, and we check every sha256.
            mirror = find_mirror()
            lines = (f"deb-src [trusted=yes] {mirror} {suite} main\n" for suite in self._suites)
            (home / "sources.list").write_text("".join(lines))
            print_progress("reading Debian's lists of source packages")
            self._run("apt-get", "update")
            (home / "ready").touch()
        command = [program, *self._options, *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout

    @property
    def _options(self) -> list[str]:
        """The options that separate our lists from the system's."""
        options = (
            f"Dir::Etc::SourceList={self._home / 'sources.list'}",
            "Dir::Etc::SourceParts=-",
            f"Dir::State::Lists={self._home / 'lists'}",
            f"Dir::Cache={self._home / 'cache'}",
            "APT::Sandbox::User=root",
            "Acquire::Retries=3",
        )
        return [word for option in options for word in ("-o", option)]


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
