"""The documentation: links lead somewhere, commands work, and the others say why they do not run.

A block of commands opens with ```` ```sh ```` and runs here, in a copy of the checkout. One that
opens with ```` ```sh needs=WHAT ```` does not run; WHAT is one of NEEDS.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote
from urllib.request import urlopen

import pytest

from builder.base.paths import COMPILED, ROOT
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.conftest import HERE, clone, encoded, have_deflated, plain, seed
from tests.support.models import COLOURS, ColourModel

# Why a block does not run here.
NEEDS = {
    "platform": "an OpenWhisk or DigitalOcean, and a key for it",
    "minutes": "many minutes: CI runs it, or a test of its own does",
    "compiler": "a compiler and some minutes: CI runs it",
    "yours": "tools or caches of the reader's own",
}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])
# The commands of these pages run first: they build the zip and start the server.
FIRST_PAGES = ("README.md", "use.md")
PROGRAMS = "python3?|wsk|doctl|docker|curl|pip|unzip"


class Block(NamedTuple):
    """A fenced block: its page and line, what its fence says, and its text."""

    page: Path
    line: int
    info: str
    text: str


def find_blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for match in re.finditer(r"^```(.*)\n([\s\S]*?)^```$", text, re.MULTILINE):
        yield Block(page, text.count("\n", 0, match.start()) + 1, match[1].strip(), match[2])


BLOCKS = [block for page in PAGES for block in find_blocks(page)]


def text_without_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def find_anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", text_without_blocks(page), re.MULTILINE)
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}


@pytest.fixture(scope="module")
def tracked() -> set[Path]:
    """The files and folders that git knows, as absolute paths."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = {ROOT / name for name in listed.stdout.splitlines()}
    return paths | {parent for path in paths for parent in path.parents}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_tracked_files_and_headings(page: Path, tracked: set[Path]) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text_without_blocks(page)))
    for link in links:
        if not link.startswith(("https://", "http://")):
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target in tracked, link
            assert not anchor or anchor in find_anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path, tracked: set[Path]) -> None:
    folders = sorted(path.name for path in tracked if path.parent == ROOT and path.is_dir())
    names = re.findall(rf"`((?:{'|'.join(folders)})/[\w./*-]+)`", text_without_blocks(page))
    missing = [name for name in names if not any(ROOT.glob(name))]
    # A class of CPU that was not measured yet has no file.
    assert [name for name in missing if not name.startswith("bench/results/")] == []


def test_readme_links_every_page() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for page in ROOT.glob("docs/*.md"):
        assert f"docs/{page.name}" in readme, page.name


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


def test_commands_run_or_say_why_not() -> None:
    command = re.compile(rf"^({PROGRAMS}) ", re.MULTILINE)
    for block in BLOCKS:
        needs = re.fullmatch(r"sh needs=(\w+)", block.info)
        runs_or_says_why = block.info == "sh" or (needs and needs[1] in NEEDS)
        assert runs_or_says_why or not command.search(block.text), block
    indented = re.compile(rf"^ {{4}}({PROGRAMS}) ", re.MULTILINE)
    for page in PAGES:
        assert not indented.search(text_without_blocks(page)), page.name


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the project with the pictures and models that the commands name."""
    folder = clone(tmp_path_factory.mktemp("clone") / "classify")
    sample = ROOT / "builder" / "artifact" / "sample" / "espresso.jpg"
    for name in ("cat.jpg", "holiday/one.jpg", "holiday/two.jpg", "labelled/espresso/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample, folder / name)
    ColourModel(dtype="uint8", softmax=True).write(folder / "my.tflite")
    ColourModel(softmax=True).write(folder / "my_float.tflite")
    (folder / "my.txt").write_text("\n".join(COLOURS))
    for name in COLOURS:
        (folder / "colours" / name).mkdir(parents=True)
        (folder / "colours" / name / "1.png").write_bytes(encoded(plain(name)))
    fill_caches(folder)
    return folder


def fill_caches(checkout: Path) -> None:
    """Give the checkout, and the folder of its --work, what would take minutes to make again."""
    work = checkout.parent / "classify-work"
    seed(work / "build")
    have_deflated(checkout)
    have_deflated(work)
    if compiled.is_cached(HERE, DEFAULT_OPTIONS):
        packages = compiled.cache_folder(HERE, DEFAULT_OPTIONS)
        shutil.copytree(packages, work / "compiled" / packages.relative_to(COMPILED))


def test_commands_work(checkout: Path, tmp_path: Path) -> None:
    for name in ("python", "python3"):
        (tmp_path / name).symlink_to(sys.executable)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    with socket.create_server(("127.0.0.1", 0)) as free:  # another run may be using 8080
        port = str(free.getsockname()[1])
    environment = {**os.environ, "PATH": path, "URL": f"http://127.0.0.1:{port}/"}
    rank = {name: place for place, name in enumerate(FIRST_PAGES)}
    blocks = [block for block in BLOCKS if block.info == "sh"]
    blocks.sort(key=lambda block: rank.get(block.page.name, len(rank)))
    commands: dict[str, str] = {}  # each once: what it made serves the pages that repeat it
    for block in blocks:
        for command in split_commands(block.text):
            place = f"{block.page.name}:{block.line}: {command}"
            commands.setdefault(re.sub(r"\s+#.*", "", command), place)
    servers: list[subprocess.Popen[str]] = []
    try:
        for command, place in commands.items():
            if variable := re.fullmatch(r"([A-Z]+)=(\S+)", command):
                environment[variable[1]] = variable[2].replace("8080", port)
            elif "--serve" in command:
                servers.append(start_server(f"{command} --port {port}", checkout, environment))
            elif not command.startswith(("git clone", "cd ")):  # the checkout is the clone
                run_command(command, place, checkout, environment)
    finally:
        for server in servers:
            server.terminate()
            server.wait(20)


def split_commands(text: str) -> Iterator[str]:
    """Yield the commands of a block, each with the lines that continue it."""
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if not line.rstrip("\n").endswith(("\\", "|")) and pending.count("'") % 2 == 0:
            yield pending.strip()
            pending = ""
    assert not pending, pending


def run_command(command: str, place: str, folder: Path, environment: dict[str, str]) -> None:
    bash = ["bash", "-euo", "pipefail", "-c", command]
    done = subprocess.run(
        bash, cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{place}\n{done.stdout}\n{done.stderr}"


def start_server(command: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    bash = ["bash", "-c", f"exec {command}"]
    process = subprocess.Popen(bash, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    address = re.search(r"http://\S+", process.stdout.readline())
    assert address
    urlopen(address[0], timeout=30).close()
    return process
