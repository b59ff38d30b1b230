"""README and docs: links lead somewhere, commands work, and what cannot be run says why.

A block of commands is ```` ```sh ````: it can be run as it is, and is run here, in a copy of the
checkout; or ```` ```sh needs=WHAT ````, and is not: WHAT is one of NEEDS. Other blocks are no
commands.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote
from urllib.request import urlopen

import pytest

from builder.base.paths import COMPILED, ROOT
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.conftest import HERE, clone, have_deflated, seed
from tests.support.models import COLOURS, Colours

NEEDS = {
    "platform": "an OpenWhisk, or DigitalOcean, and a key for it",
    "engine": "a container engine",
    "minutes": "many minutes: CI runs it, or a test of its own does",
    "compiler": "a compiler and some minutes; CI runs it",
    "network": "other addresses than the package index",
    "yours": "labelled pictures or a tool of one's own",
}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])
FIRST = ("README.md", "requests.md")
"""The pages whose commands come first: they build, and start the server that others ask."""
SECONDS = 240
README_LINES = 170


class Block(NamedTuple):
    page: Path
    line: int
    info: str
    commands: str


def blocks(page: Path) -> list[Block]:
    """Its fenced blocks, whatever they are of."""
    found: list[Block] = []
    opened = 0
    lines = page.read_text("utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.startswith("```"):
            continue
        if opened:
            info = lines[opened - 1].removeprefix("```").strip()
            found.append(Block(page, opened, info, "\n".join(lines[opened : number - 1])))
        opened = 0 if opened else number
    assert not opened, f"{page.name}:{opened}: a block that does not end"
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.info.startswith("sh")]
RUN = [block for block in BLOCKS if block.info == "sh"]


def without_blocks(page: Path) -> str:
    """A page's text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", without_blocks(page)))
    for link in links:
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", str(target)], cwd=ROOT, capture_output=True
        )
        assert tracked.returncode == 0 or target.is_dir(), f"{link}: not in the project"
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for page in ROOT.glob("docs/*.md"):
        assert f"docs/{page.name}" in readme, page.name


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= README_LINES


def test_what_is_not_run_says_why() -> None:
    for block in SHELL:
        reason = re.fullmatch(r"sh needs=(\w+)", block.info)
        assert block.info == "sh" or (reason and reason[1] in NEEDS), block
    commands = re.compile(r"^(python3?|wsk|doctl|docker|curl|pip) ", re.MULTILINE)
    for block in BLOCKS:  # nothing hides in blocks that are no shell's
        assert block in SHELL or not commands.search(block.commands), block
    indented = re.compile(r"^ {4}(python3?|wsk|doctl|docker|curl|pip|unzip) ", re.MULTILINE)
    for page in PAGES:
        assert not indented.search(without_blocks(page)), page.name


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project in another folder, as a clone has it, with pictures and models of one's own."""
    folder = clone(tmp_path_factory.mktemp("clone") / "classify")
    sample = ROOT / "builder" / "artifact" / "sample" / "espresso.jpg"
    for name in ("cat.jpg", "dog.jpg", "holiday/one.jpg", "holiday/two.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(sample, folder / name)
    work = folder.parent / "classify-work"  # where a command builds that finds nothing there
    seed(work / "build")
    have_deflated(folder)
    have_deflated(work)
    if compiled.is_cached(HERE, DEFAULT_OPTIONS):
        packages = compiled.cache_folder(HERE, DEFAULT_OPTIONS)
        shutil.copytree(packages, work / "compiled" / packages.relative_to(COMPILED))
    Colours(dtype="uint8", softmax=True).write(folder / "my.tflite")
    Colours(softmax=True).write(folder / "my_float.tflite")
    (folder / "my.txt").write_text("\n".join(COLOURS))
    return folder


def test_commands(checkout: Path, tmp_path: Path) -> None:
    """In the order of the pages; a server that a page starts answers the commands after it.

    A command that several pages give is run once: it has left then what they go on with.
    """
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python", "python3"):
        (tools / name).symlink_to(sys.executable)
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "URL": "http://127.0.0.1:8080/",
    }
    servers: list[subprocess.Popen[str]] = []
    ran: set[str] = set()
    rank = {name: place for place, name in enumerate(FIRST)}
    order = sorted(RUN, key=lambda block: rank.get(block.page.name, len(rank)))
    assert {block.page.name for block in order} > set(FIRST)
    try:
        for block in order:
            for command in joined(block.commands):
                place = f"{block.page.name}:{block.line}: {command}"
                if command.startswith(("git clone", "cd ")):
                    continue  # the copy of the checkout is it
                if variable := re.match(r"([A-Z]+)=(\S+)", command):
                    environment[variable[1]] = variable[2]
                    continue
                if "--serve" in command:
                    if not servers:
                        servers.append(served(command, checkout, environment))
                    continue
                plain = re.sub(r"\s+#.*", "", command).replace("python3 ", "python ")
                if plain in ran:
                    continue
                ran.add(plain)
                began = time.monotonic()
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", command],
                    cwd=checkout,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=SECONDS,
                )
                print(f"{time.monotonic() - began:.1f} s: {place}")
                assert done.returncode == 0, f"{place}\n{done.stdout}\n{done.stderr}"
    finally:
        for server in servers:
            server.terminate()
            server.wait(20)


def joined(commands: str) -> list[str]:
    """The commands of a block: lines, with those that a backslash or a quote continues."""
    found: list[str] = []
    pending = ""
    for line in commands.splitlines():
        pending += line + "\n"
        if line.endswith(("\\", "|")) or pending.count("'") % 2 or "<<'" in pending:
            continue
        if pending.strip() and not pending.lstrip().startswith("#"):
            found.append(pending.strip())
        pending = ""
    assert not pending.strip(), pending
    return found


def served(command: str, checkout: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    address = re.search(r"http://\S+", process.stdout.readline())
    assert address
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with urlopen(address[0], timeout=10) as answer:
            assert answer.status == 200
            return process
    raise AssertionError(HERE)
