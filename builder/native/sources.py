"""The sources: found, fetched, proved to be the pinned ones, unpacked, patched.

`python sources.py --build-dir DIR` only fetches; the other commands fetch what they lack.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import venv
import zipfile
from pathlib import Path
from typing import Any

from steps import HERE, Builder, RecipeError, digest, say

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib  # Python 3.10 has none of its own

SNAPSHOT_SECONDS = 10
TOOLS = HERE / "tools.txt"
# A source's folder -> the only paths of it that are unpacked: TensorFlow's is 400 MB without.
WANTED = {
    "tensorflow": (
        "LICENSE",
        "tensorflow/core/public/version.h",
        "tensorflow/lite/",
        "tensorflow/python/lib/core/pybind11_lib.h",
        "tensorflow/tsl/framework/convolution/",
        "tensorflow/tsl/lib/random/",
        "third_party/eigen3/",
        "third_party/fft2d/",
    )
}


def pins() -> dict[str, Any]:
    """sources.toml: name -> file, hashes, origin."""
    with (HERE / "sources.toml").open("rb") as file:
        return tomllib.load(file)


class Sources:
    """Fetches into BUILD/sources, unpacks into BUILD/src/NAME.

    Attributes:
        folder: the unpacked sources.
    """

    def __init__(self, builder: Builder, looked_in_first: list[Path]) -> None:
        self._builder = builder
        self._given = looked_in_first
        self._store = builder.folder / "sources"
        self._pins = pins()
        self.folder = builder.folder / "src"

    def unpack(self, name: str) -> str:
        """Have the source in `folder / name`, with our patch if there is one; returns its key."""
        patch = HERE / "patches" / f"{name}.patch"
        inputs = [self._pins[name]["sha256"], repr(WANTED.get(name))]
        if patch.exists():
            inputs.append(digest(patch))

        def work(folder: Path) -> None:
            _extract(self.fetch(name), folder, WANTED.get(name, ()))
            if patch.exists():
                command = ["patch", "-p1", "--fuzz=0", "-i", str(patch)]
                self._builder.run(command, f"src/{name}", cwd=folder)

        return self._builder.step(f"src/{name}", inputs, work)

    def fetch(self, name: str) -> Path:
        """The source's file, verified.

        Raises:
            RecipeError: nobody has it; says what was tried, and where to put it by hand.
        """
        pin = self._pins[name]
        target = self._store / str(pin["file"])
        if _is(target, pin["sha256"]):
            return target
        self._store.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        tried = []
        for origin in (self._from_given, self._from_debian, self._from_index, self._from_snapshot):
            part.unlink(missing_ok=True)
            reason = origin(pin, name, part)
            if reason:
                tried.append(reason)
            elif part.exists():
                if _is(part, pin["sha256"]):
                    part.replace(target)
                    return target
                tried.append(f"{origin.__name__[6:]}: delivered a file with another sha256")
                part.unlink()
        raise RecipeError(
            f"the source {pin['file']} is nowhere to be found (sha256 {pin['sha256']})\n  "
            + "\n  ".join(tried)
            + "\nput it into a folder and name that with --sources DIR"
        )

    def _from_given(self, pin: dict[str, Any], name: str, part: Path) -> str:
        for folder in self._given:
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            files.sort(key=lambda path: path.name != pin["file"])  # the likely one first
            for path in files:
                if _is(path, pin["sha256"]):
                    shutil.copyfile(path, part)
                    return ""
        return "--sources: no file there has this sha256" if self._given else ""

    def _from_debian(self, pin: dict[str, Any], name: str, part: Path) -> str:
        if "debian" not in pin:
            return ""
        try:
            options = self._apt()
        except RecipeError as error:
            return f"apt: {error}"
        # If the archive has moved on, another revision may still have the same upstream file.
        for wanted in (f"{name}={pin['debian']['version']}", name):
            command = ["apt-get", *options, "--print-uris", "--only-source", "source", wanted]
            listing = subprocess.run(command, capture_output=True, text=True).stdout
            found = re.search(rf"^'([^']+)' \S+ \d+ SHA256:{pin['sha256']}", listing, re.M)
            if found:
                say(f"fetching {pin['file']}")
                helper = ["/usr/lib/apt/apt-helper", *options, "download-file", found[1], str(part)]
                done = subprocess.run(helper, capture_output=True, text=True)
                return f"apt: {_last_line(done.stderr)}" if done.returncode else ""
        return f"apt: the archive no longer lists {pin['file']} ({pin['debian']['suite']})"

    def _apt(self) -> list[str]:
        """Options for an apt with source lists of its own, made once from the machine's."""
        home = self._builder.folder / "apt"
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
            suites = sorted({p["debian"]["suite"] for p in self._pins.values() if "debian" in p})
            (home / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (home / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
            # Trusted, because the keys of later suites need not be here: we check every sha256.
            lines = (f"deb-src [trusted=yes] {_debian_uri()} {suite} main\n" for suite in suites)
            (home / "sources.list").write_text("".join(lines))
            say("reading Debian's lists of source packages")
            self._builder.run(["apt-get", *arguments, "update"], "fetch")
            (home / "ready").touch()
        return arguments

    def _from_index(self, pin: dict[str, Any], name: str, part: Path) -> str:
        if "index" not in pin:
            return ""
        say(f"fetching {pin['file']}")
        tools(self._builder)
        scratch = part.with_name(f"pip-{name}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        wanted = scratch / "requirements.txt"
        wanted.write_text(f"{name}=={pin['index']['version']} --hash=sha256:{pin['sha256']}\n")
        kind = "--only-binary" if pin["file"].endswith(".whl") else "--no-binary"
        command = ["python", "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
        # pip asks a source package for its metadata: the pinned tools and the stand-in answer.
        command += ["--no-build-isolation", kind, ":all:", "-d", str(scratch), "-r", str(wanted)]
        try:
            self._builder.run(command, "fetch", env={"PYTHONPATH": str(HERE / "backend")})
            (scratch / pin["file"]).replace(part)
        except (RecipeError, OSError) as error:
            return f"package index: {error}"
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return ""

    def _from_snapshot(self, pin: dict[str, Any], name: str, part: Path) -> str:
        if "sha1" not in pin:
            return ""
        try:
            address = f"https://snapshot.{_debian_domain()}/file/{pin['sha1']}"
            answer = urllib.request.urlopen(address, timeout=SNAPSHOT_SECONDS)
            with answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except (RecipeError, urllib.error.URLError, OSError) as error:
            return f"Debian's snapshot service: {error}"
        return ""


def tools(builder: Builder) -> str:
    """Have the pinned build tools in an environment of their own.

    Returns:
        Their key: which tools, not which Python they run on.
    """

    def work(folder: Path) -> None:
        venv.create(folder, with_pip=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--require-hashes"]
        command += ["--no-deps", "--only-binary", ":all:", "--no-input", "-r", str(TOOLS)]
        builder.run(command, "tools")

    builder.step("tools", [digest(TOOLS), sys.version, sys.executable], work)
    return digest(TOOLS)


def _debian_domain() -> str:
    """Debian's own domain, by what a Debian says of itself."""
    release = Path("/etc/os-release")
    text = release.read_text("utf-8") if release.exists() else ""
    home = re.search(r'^HOME_URL="?https?://(?:www\.)?([\w.-]+)', text, re.MULTILINE)
    if home is None or not re.search(r"^ID=debian$", text, re.MULTILINE):
        raise RecipeError("this machine is no Debian and does not know the address")
    return home[1]


def _debian_uri() -> str:
    """The address of the Debian archive that this machine's apt is set up with."""
    files = [p for p in sorted(Path("/etc/apt").rglob("*")) if p.suffix in (".list", ".sources")]
    texts = [path.read_text("utf-8", "replace") for path in files if path.is_file()]
    for text in texts:
        for address in re.findall(r"(?:https?|file):/[^\s\]]+", text):
            if re.search(r"/debian/?$", address):
                return str(address)
    raise RecipeError("no Debian archive is set up under /etc/apt: use --sources DIR")


def _extract(archive: Path, folder: Path, wanted: tuple[str, ...]) -> None:
    """Unpack, without the archive's only top folder; of links only those within the archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
        return
    with tarfile.open(archive) as tar:
        members = [m for m in tar if m.isfile() or m.issym()]
        names = [re.sub(r"^\./", "", m.name) for m in members]
        only_top = len({name.split("/")[0] for name in names}) == 1
        for member, name in zip(members, names, strict=True):
            path = name.partition("/")[2] if only_top else name
            if ".." in path.split("/") or (wanted and not path.startswith(wanted)):
                continue
            if member.issym() and (member.linkname.startswith("/") or ".." in member.linkname):
                continue
            member.name = path
            member.mode |= 0o600
            tar.extract(member, folder)


def _is(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest() == sha256


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "failed without a word"


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that all commands share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build-dir", type=Path, required=True, help="keeps everything made")
    parser.add_argument(
        "--sources", type=Path, action="append", default=[], metavar="DIR",
        help="look for source files here first, by their sha256",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, help="compilers at once (2)")
    return parser


def main() -> int:
    """Fetch every source."""
    options = arguments("Fetch and verify the sources.").parse_args()
    try:
        sources = Sources(Builder(options.build_dir, options.jobs), options.sources)
        for name in pins():
            sources.fetch(name)
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
