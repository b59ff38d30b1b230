"""`python3 -m tools.update` on a copy of the checkout, with an index and an apt of our own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.base.errors import BuildError
from builder.base.paths import ROOT
from builder.base.toml import read_toml
from builder.native import debian
from tests.support.index import PackageIndex, serving_index, wheel

PILLOW = """\
[pillow]  # pictures
[pillow.files]
"3.10" = { version = "1.0.0", file = "pillow-1.0.0.tar.gz", sha256 = "OLD" }
"3.11" = { version = "1.0.0", file = "pillow-1.0.0.tar.gz", sha256 = "OLD" }  # kept

[zlib]  # PNG
file = "zlib_1.3.1.orig.tar.gz"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
sha1 = "0000000000000000000000000000000000000000"
debian = { suite = "trixie", version = "1:1.3.1-1" }
"""
WHEELS = """\
[wheels]
platforms = ["manylinux_2_28_x86_64"]

[[wheels.package]]
name = "pillow"
[wheels.package.files]
"3.11" = { version = "1.0.0", file = "WHEEL", sha256 = "OLD" }
"""


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serving_index() as served:
        yield served


@dataclass
class Checkout:
    """A copy of the checkout with a few pins, and scripts in place of apt's programs."""

    folder: Path
    index: PackageIndex

    @property
    def pins(self) -> Path:
        return self.folder / "builder" / "native" / "pillow" / "pins.toml"

    @property
    def wheels(self) -> Path:
        return self.folder / "builder" / "packages" / "pins.toml"

    def update(
        self, *arguments: str, status: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the tool, which must exit with this status."""
        env = {
            **os.environ,
            "CLASSIFY_ENVIRONMENT": f"update:{self.folder}",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.index.url,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "UV_NO_CACHE": "1",
            **variables,
        }
        command = [sys.executable, "-m", "tools.update", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def debian(self, *releases: tuple[str, str]) -> None:
        """Set what apt lists of zlib: (suite, version); a tarball holds its upstream version."""
        store = self.folder / "debian"
        store.mkdir(exist_ok=True)
        lines = ""
        for suite, version in releases:
            lines += f"      zlib | {version} | file:/mirror {suite}/main Sources\n"
            upstream = version.partition(":")[2].partition("-")[0]
            file = store / f"zlib_{upstream}.orig.tar.gz"
            file.write_text(upstream)
            digest = hashlib.sha256(upstream.encode()).hexdigest()
            dsc = f"'file:/pool/zlib_{version}.dsc' zlib.dsc 9 SHA256:{'1' * 64}\n"
            uris = f"{dsc}'{file}' {file.name} 9 SHA256:{digest}\n"
            (store / f"zlib={version}").write_text(uris)
        (store / "madison").write_text(lines)
        for name, script in (
            ("apt-cache", f"cat {store}/madison"),
            ("apt-get", f'for last; do :; done; cat "{store}/$last" 2>/dev/null; exit 0'),
            ("apt-helper", 'while [ "$1" != download-file ]; do shift; done; cp "$2" "$3"'),
        ):
            program = self.folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path, index: PackageIndex) -> Checkout:
    try:
        debian.find_mirror()
    except BuildError:
        pytest.skip("apt has no Debian mirror here")
    ignored = shutil.ignore_patterns("__pycache__", "*.in", "*.toml")
    for room in ("builder", "tools"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=ignored)
    native = tmp_path / "builder" / "native"
    old = index.release("pillow", "pillow-1.0.0.tar.gz", b"source 1.0.0")
    name = "pillow-1.0.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    old_wheel = index.release("pillow", name, wheel("pillow", "1.0.0"))
    (native / "pillow" / "pins.toml").write_text(PILLOW.replace("OLD", old))
    for folder in ("numpy", "tflite", "xnnpack"):
        (native / folder / "pins.toml").write_text("")
    (tmp_path / "builder" / "packages" / "pins.toml").write_text(
        WHEELS.replace("WHEEL", name).replace("OLD", old_wheel)
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "tool.in").write_text("# A tool.\n# compile: --universal\nthetool\n")
    locked = f"{index.release_wheel('thetool')}    # via tests/tool.in\n"
    (tmp_path / "tests" / "tool.txt").write_text(locked)
    return Checkout(tmp_path, index)


def release_newer(checkout: Checkout) -> dict[str, str]:
    """Release a newer version of everything; return file -> sha256."""
    release = checkout.index.release
    checkout.debian(
        ("trixie", "1:1.3.1-1"),
        ("sid", "1:1.3.10-1"),
        ("forky", "1:1.3.10-1"),
        ("sid", "1:1.3.2-1"),
    )
    wheel_name = "pillow-1.0.10-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
    made = {
        "pillow-1.0.10.tar.gz": release("pillow", "pillow-1.0.10.tar.gz", b"source", ">=3.11"),
        wheel_name: release("pillow", wheel_name, wheel("pillow", "1.0.10"), ">=3.11"),
        "thetool-1.1-py3-none-any.whl": release(
            "thetool", "thetool-1.1-py3-none-any.whl", wheel("thetool", "1.1")
        ),
    }
    # What must not be taken: for another machine, withdrawn, or not final.
    other = "pillow-1.0.11-cp311-cp311-macosx_11_0_arm64.whl"
    release("pillow", other, wheel("pillow", "1.0.11"))
    release("pillow", "pillow-1.0.12.tar.gz", b"", yanked="broken")
    release("pillow", "pillow-1.1.0rc1.tar.gz", b"")
    release("pillow", "pillow-1.0.2.tar.gz", b"", ">=3.11")
    return made


def contents(checkout: Checkout) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for pattern in ("builder/**/*.toml", "tests/*")
        for path in checkout.folder.glob(pattern)
    }


def test_check_lists_what_is_behind_and_writes_nothing(checkout: Checkout) -> None:
    release_newer(checkout)
    before = contents(checkout)
    done = checkout.update("--check", status=1)
    assert contents(checkout) == before
    rows = {line[:34].strip(): line[34:].split() for line in done.stdout.splitlines()}
    assert rows["source 3.10"] == ["pillow", "1.0.0", "current"]
    assert rows["source 3.11"] == ["pillow", "1.0.0", "->", "1.0.10", "behind"]
    assert rows["source"] == ["zlib", "1.3.1", "->", "1.3.10", "behind"]
    assert rows["wheel 3.11"] == ["pillow", "1.0.0", "->", "1.0.10", "behind"]
    assert rows["tests/tool.txt"] == ["thetool", "1.0", "->", "1.1", "behind"]


def test_update_writes_pins_and_requirements(checkout: Checkout) -> None:
    made = release_newer(checkout)
    done = checkout.update()
    pins = read_toml(checkout.pins)
    file = "pillow-1.0.10.tar.gz"
    wanted = {"version": "1.0.10", "file": file, "sha256": made[file]}
    assert pins["pillow"]["files"]["3.11"] == wanted
    assert pins["pillow"]["files"]["3.10"]["version"] == "1.0.0"
    assert pins["zlib"]["debian"] == {"suite": "forky", "version": "1:1.3.10-1"}
    assert pins["zlib"]["file"] == "zlib_1.3.10.orig.tar.gz"
    assert pins["zlib"]["sha256"] == hashlib.sha256(b"1.3.10").hexdigest()
    assert pins["zlib"]["sha1"] == hashlib.sha1(b"1.3.10").hexdigest()
    text = checkout.pins.read_text()
    assert "[pillow]  # pictures\n" in text
    assert text.count("# kept") == 1
    [package] = read_toml(checkout.wheels)["wheels"]["package"]
    assert made[package["files"]["3.11"]["file"]] == package["files"]["3.11"]["sha256"]
    locked = (checkout.folder / "tests" / "tool.txt").read_text()
    assert "thetool==1.1" in locked
    assert made["thetool-1.1-py3-none-any.whl"] in locked
    assert "next: python3 build_zip.py" in done.stdout
    checkout.debian(("trixie", "1:1.3.10-1"), ("sid", "1:2.0-1"))
    checkout.pins.write_text(text.replace("# PNG\n", '# PNG\nhold = "it is another format"\n'))
    done = checkout.update("--check")
    assert "1.3.10 -> 2.0" in done.stdout
    assert "held: it is another format" in done.stdout


def test_only_the_named_package_is_updated(checkout: Checkout) -> None:
    release_newer(checkout)
    before = contents(checkout)
    checkout.update("zlib")
    after = contents(checkout)
    assert [path for path in after if after[path] != before[path]] == [checkout.pins]
    assert read_toml(checkout.pins)["pillow"]["files"]["3.11"]["version"] == "1.0.0"
    checkout.update("thetool")
    assert "thetool==1.1" in (checkout.folder / "tests" / "tool.txt").read_text()
    done = checkout.update("pilow", status=1)
    assert "error: expected a package that is pinned, found pilow" in done.stderr


def test_unreachable_index_is_reported(checkout: Checkout) -> None:
    done = checkout.update("--check", PIP_INDEX_URL="http://127.0.0.1:1/simple", status=1)
    assert "error: the package index does not answer" in done.stderr
    assert "pip config list" in done.stderr


def test_every_requirements_file_has_its_command() -> None:
    """Each `.in` file says how it is compiled, and has a result with every hash."""
    from tools.update import requirements

    tracked = subprocess.run(
        ["git", "ls-files", "*.in"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    named = [path.relative_to(ROOT).as_posix() for path in requirements.find_sources()]
    assert sorted(named) == sorted(tracked)
    for path in requirements.find_sources():
        result = path.with_suffix(".txt")
        assert requirements.read_versions(path), result
        assert result.read_text().count("--hash=") >= len(requirements.read_versions(path))
