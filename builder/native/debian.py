"""Debian's archive of source packages, through the apt of this machine."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from builder.base.errors import BuildError
from builder.native.steps import Builder, say

HELPER = "/usr/lib/apt/apt-helper"
"""Of every apt; not on the PATH."""


class Archive:
    """An apt with lists of its own, of source packages in the given suites."""

    def __init__(self, builder: Builder, suites: Sequence[str]) -> None:
        self._builder = builder
        self._suites = sorted(set(suites))
        self._home = builder.folder / "apt"

    def files(self, name: str, version: str = "") -> list[tuple[str, str]]:
        """The files of a source package: (address, sha256) each; none if it is not there.

        Args:
            name: of the source package.
            version: Debian's; empty for the newest.

        Raises:
            BuildError: no archive is set up, or it does not answer.
        """
        wanted = f"{name}={version}" if version else name
        command = ["apt-get", *self._options(), "--print-uris", "--only-source", "source", wanted]
        listing = subprocess.run(command, capture_output=True, text=True).stdout
        return re.findall(r"^'([^']+)' \S+ \d+ SHA256:([0-9a-f]{64})", listing, re.M)

    def versions(self, name: str) -> list[tuple[str, str]]:
        """The versions of a source package: (version, suite) each; none if it is not there.

        Raises:
            BuildError: no archive is set up, or it does not answer.
        """
        command = ["apt-cache", *self._options(), "madison", name]
        listing = subprocess.run(command, capture_output=True, text=True).stdout
        return re.findall(r"^ *\S+ \| +(\S+) \| \S+ (\w+)/main Sources", listing, re.M)

    def download(self, address: str, target: Path) -> None:
        """Fetch one of the files.

        Raises:
            BuildError: the archive does not deliver it.
        """
        helper = [shutil.which("apt-helper") or HELPER, *self._options(), "download-file", address]
        self._builder.run([*helper, str(target)], "fetch")

    def _options(self) -> list[str]:
        """Options that make an apt of its own; it reads the archive's lists once."""
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
            # Trusted, because the keys of later suites need not be here: we check every sha256.
            lines = (f"deb-src [trusted=yes] {_address()} {suite} main\n" for suite in self._suites)
            (home / "sources.list").write_text("".join(lines))
            say("reading Debian's lists of source packages")
            self._builder.run(["apt-get", *arguments, "update"], "fetch")
            (home / "ready").touch()
        return arguments


def domain() -> str:
    """Debian's own domain, by what a Debian says of itself."""
    release = Path("/etc/os-release")
    text = release.read_text("utf-8") if release.exists() else ""
    home = re.search(r'^HOME_URL="?https?://(?:www\.)?([\w.-]+)', text, re.MULTILINE)
    if home is None or not re.search(r"^ID=debian$", text, re.MULTILINE):
        raise BuildError("this machine is no Debian and does not know the address")
    return home[1]


def _address() -> str:
    """The address of the Debian archive that this machine's apt is set up with."""
    files = [p for p in sorted(Path("/etc/apt").rglob("*")) if p.suffix in (".list", ".sources")]
    texts = [path.read_text("utf-8", "replace") for path in files if path.is_file()]
    for text in texts:
        for address in re.findall(r"(?:https?|file):/[^\s\]]+", text):
            if re.search(r"/debian/?$", address):
                return str(address)
    raise BuildError("no Debian archive is set up under /etc/apt: use --sources DIR")
