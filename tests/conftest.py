"""What the tests share: the model, built zips, running actions, pictures."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder import build
from builder.artifact import actionloop, platform
from builder.base import cpython, environments, files
from builder.base.archive import DEFLATED
from builder.base.console import Console
from builder.base.environments import ensure_environment
from builder.base.paths import ROOT
from builder.model.normalization import Normalization
from builder.model.resolve import ModelOptions
from builder.packages import DEFAULT_OPTIONS, compiled
from tests.support.models import COLOURS, ColourModel
from tests.support.pictures import encoded as encoded
from tests.support.pictures import plain as plain

SHARED = ROOT.parent / "shared"
MOBILENET = SHARED / "model" / "mobilenet_v1_1.0_224_quant.tflite"
PYTHONS = platform.pythons()
HERE = build.default_python()
# Pythons other than the running one are for --thorough.
EACH_PYTHON = [
    pytest.param(python, marks=() if python == HERE else pytest.mark.thorough) for python in PYTHONS
]
# OW_EXECUTION_ENV of an image that is not Apache's.
IMAGE = "registry.example/python:1"
PLUS_MINUS_ONE = Normalization((127.5,), (127.5,))

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = (
    "chromium-headless-shell",  # the same without windows, in half the time
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run files with few tests first: each of these tests takes long."""
    if not config.getoption("--thorough"):
        left = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: tests[item.path])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough",
        action="store_true",
        help="run on every Python and repeat as often as CI does",
    )
    parser.addoption("--screenshots", action="store_true", help="write the pictures in docs/ again")


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--thorough"))


@pytest.fixture(scope="session")
def console() -> Console:
    return Console(quiet=True)


@pytest.fixture(scope="session")
def imagenet_model() -> str:
    """Return the real MobileNet where present, else the package index's EfficientNet."""
    return str(MOBILENET) if MOBILENET.exists() else "efficientnet_lite0"


@pytest.fixture(scope="session")
def make_zip(tmp_path_factory: pytest.TempPathFactory, console: Console) -> Callable[..., Path]:
    """Build each kind of zip once for all test processes; skip if its Python is missing.

    Without a provider, compiled packages are used if they are cached, else wheels. `more` are
    other settings of the build.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def make(
        python: str = HERE,
        model: str = "",
        labels: str = "",
        provider: str = "",
        normalization: Normalization | None = None,
        **more: Any,
    ) -> Path:
        pythons = tuple(python.split(","))
        for version in pythons:
            interpreter(version)
        provider = provider or at_hand(pythons)
        wanted = (python, Path(model).name, provider, normalization, sorted(more.items()))
        digest = hashlib.sha256(repr(wanted).encode())
        for path in (model, labels):
            content = Path(path).read_bytes() if Path(path).is_file() else path.encode()
            digest.update(hashlib.sha256(content).digest())
        output = shared / f"zip-{python}-{digest.hexdigest()[:12]}" / "classify.zip"
        with files.lock(output, "building a zip", console.note):
            if output.exists():
                return output
            config = build.BuildConfig(
                pythons,
                output,
                model or None,
                ModelOptions(Path(labels) if labels else None, normalization),
                provider=provider,
                keep=False,
                **more,
            )
            build.build(config, console)
        return output

    return make


@pytest.fixture(scope="session")
def zip_path(make_zip: Callable[..., Path], imagenet_model: str) -> Path:
    """Return a portable zip for this Python with an ImageNet model."""
    return make_zip(HERE, imagenet_model)


@pytest.fixture(scope="session")
def wheels_path(make_zip: Callable[..., Path], imagenet_model: str) -> Path:
    """Return the same with packages from ready-made wheels."""
    return make_zip(HERE, imagenet_model, provider="wheels")


@pytest.fixture(scope="session")
def precompiled_path(make_zip: Callable[..., Path], imagenet_model: str) -> Path:
    """Return the same as a precompiled zip for the image IMAGE."""
    return make_zip(HERE, imagenet_model, execution_env=IMAGE)


@pytest.fixture(scope="session")
def action(zip_path: Path) -> Iterator[actionloop.RunningAction]:
    """Run the portable zip as the platform does."""
    with actionloop.start_action(zip_path, interpreter()) as running:
        yield running


@pytest.fixture(scope="session")
def installed(zip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the client that has the portable zip as its last build."""
    from tests.support.local_server import copy_client

    return copy_client(tmp_path_factory.mktemp("installed"), zip_path)


@pytest.fixture(scope="session")
def colour_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "colours.txt"
    path.write_text("\n".join(COLOURS))
    return path


@pytest.fixture(scope="session")
def colour_zip(
    make_zip: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, colour_labels: Path
) -> Callable[..., Path]:
    """Return a function that builds a zip with a small colour classifier."""

    def make(want: ColourModel) -> Path:
        path = tmp_path_factory.mktemp("model") / "colours.tflite"
        scaled = PLUS_MINUS_ONE if want.weights == "float32" else None
        model = str(want.write(path))
        return make_zip(HERE, model, str(colour_labels), normalization=scaled)

    return make


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(
            "no Chromium here: apt-get install -y chromium-headless-shell fonts-dejavu-core"
        )
    from playwright.sync_api import sync_playwright  # not there where fuzz.py runs

    with sync_playwright() as playwright:
        # In a container Chromium has neither what its sandbox needs nor much of /dev/shm.
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        running = playwright.chromium.launch(executable_path=found, args=flags)
        yield running
        running.close()


def seed(folder: Path) -> Path:
    """Copy the tool's environment into another folder, and return its Python executable.

    Creating it with pip takes some twenty seconds.
    """
    requirements = ROOT / "builder" / "requirements.txt"
    made = ensure_environment("tools", requirements).parent.parent
    home = environments.environment_folder("tools", requirements, folder=folder)
    shutil.copytree(made, home, symlinks=True, copy_function=linked)
    return ensure_environment("tools", requirements, folder=folder, notify=pytest.fail)


def linked(source: str, target: str) -> None:
    """Hard-link a file; copy it across file systems."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def have_deflated(checkout: Path) -> None:
    """Share this checkout's cache of deflated files with another one."""
    if DEFLATED.exists():
        copy = checkout / "build" / DEFLATED.name
        shutil.copytree(DEFLATED, copy, copy_function=linked, dirs_exist_ok=True)


def clone(folder: Path) -> Path:
    """Copy the project's files as the working tree has them, without anything ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def shared_images() -> Path:
    """Return the folder of labelled ImageNet pictures; skip without ../shared."""
    if not (SHARED / "images" / "labels.tsv").exists():
        pytest.skip("no labelled pictures beside the checkout")
    return SHARED / "images"


@pytest.fixture
def cases() -> Path:
    """Return the folder of reported inputs; skip without ../shared."""
    if not (SHARED / "cases").is_dir():
        pytest.skip("no reported inputs beside the checkout")
    return SHARED / "cases"


def at_hand(pythons: Iterable[str] = (HERE,)) -> str:
    """Return the provider for tests: compiled packages if they are cached, else wheels."""
    ready = all(compiled.is_cached(python, DEFAULT_OPTIONS) for python in pythons)
    return "local" if ready else "wheels"


def interpreter(python: str = HERE) -> str:
    """Return the path of a CPython; skip if this machine has none."""
    found = cpython.find_python(python)
    if found is None:
        pytest.skip(f"no Python {python} on this machine")
    return found.path


def base64_of(content: bytes | Path) -> str:
    """Encode a picture as the `image` parameter."""
    content = content.read_bytes() if isinstance(content, Path) else content
    return base64.b64encode(content).decode()
