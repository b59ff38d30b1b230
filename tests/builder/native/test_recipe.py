"""The recipe's own code: sources are proved, looked for everywhere, and asked for by name."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.artifact import platform
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from builder.model.tflite import OPERATORS
from builder.native import recipe
from builder.native.debian import Archive
from builder.native.fetch import Fetcher
from builder.native.pins import PACKAGES, Pin, pins, upstream
from builder.native.steps import HERE, Builder
from builder.native.tflite.build import operators
from builder.native.toolchain import Toolchain
from builder.packages import compiled
from builder.packages.compiled import DOCKERFILE, recipe_key


def fetch(folder: Path, given: Path, sha256: str) -> Path:
    builder = Builder(folder, 1)
    fetcher = Fetcher(Toolchain(builder), Archive(builder, ["trixie"]), [given])
    return fetcher.fetch(
        Pin(
            name="it",
            version="1",
            file="it.tar.gz",
            sha256=sha256,
            package="it",
            licence="MIT",
            purl="pkg:generic/it@1",
            cpe="cpe:2.3:a:it:it:1:*:*:*:*:*:*:*",
            folder="numpy",
            key="it",
            suite="trixie",
            revision="1-1",
            sha1="0" * 40,
        )
    )


def test_a_given_source_is_found_by_its_hash(tmp_path: Path) -> None:
    given = tmp_path / "given" / "deep"
    given.mkdir(parents=True)
    (given / "another name.bin").write_bytes(b"the source")
    (given / "it.tar.gz").write_bytes(b"not the source")
    digest = hashlib.sha256(b"the source").hexdigest()
    path = fetch(tmp_path / "build", tmp_path / "given", digest)
    assert path.read_bytes() == b"the source"


def test_a_source_that_is_nowhere(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    digest = "f" * 64
    with pytest.raises(BuildError) as caught:
        fetch(tmp_path / "build", tmp_path / "given", digest)
    assert f"it.tar.gz is nowhere to be found (sha256 {digest})" in str(caught.value)
    assert "no file there has this sha256" in str(caught.value)
    assert "Debian's snapshot service" in str(caught.value)
    assert "--sources DIR" in caught.value.hint
    assert not list((tmp_path / "build").rglob("*.part"))


@pytest.mark.parametrize("python", platform.pythons())
def test_every_source_is_pinned(python: str) -> None:
    assert {"tensorflow", "xnnpack", "numpy", "pillow", "libjpeg-turbo"} <= set(pins(python))
    for name, pin in pins(python).items():
        assert re.fullmatch(r"[0-9a-f]{64}", pin.sha256), name
        assert pin.licence
        assert pin.package in ("tflite_runtime", "numpy", "PIL")
        assert bool(pin.suite) == bool(pin.revision) == bool(pin.sha1)


def test_a_python_that_nothing_is_pinned_for() -> None:
    with pytest.raises(BuildError, match=r"expected a pin for one of Python 3\.10, .*found 3\.9"):
        pins("3.9")


def test_upstreams_version_in_debians() -> None:
    assert upstream("1:1.3.dfsg+really1.3.1-1+deb13u1") == "1.3.1"
    assert upstream("2.14.1+dfsg-3.1") == "2.14.1"
    assert upstream("1:3.1.3-4") == "3.1.3"
    assert upstream("0.0~git20241108.4ea82e5-2") == "0.0~git20241108.4ea82e5"


def test_every_patch_belongs_to_a_source_and_says_why() -> None:
    named = {
        HERE / pin.folder / "patches" / patch
        for python in platform.pythons()
        for pin in pins(python).values()
        for patch in pin.patches
    }
    assert named == set(HERE.glob("*/patches/*"))
    for patch in named:
        head, _, rest = patch.read_text("utf-8").partition("\n--- a/")
        assert "\n\nUpstream: " in head, f"{patch.name}: expected why, and what upstream says"
        assert rest
        for line in rest.splitlines():
            if line.startswith(("--- ", "+++ ")):
                assert line[4:].startswith(("a/", "b/", "/dev/null")), f"{patch.name}: {line}"


def test_the_operators_are_tflites() -> None:
    names = operators()
    assert set(names) <= set(OPERATORS.values())
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX", "HARD_SWISH", "CONCATENATION"} <= set(names)


def test_every_folder_of_the_recipe_is_a_package() -> None:
    folders = {path.parent.name for path in HERE.glob("*/build.py")}
    assert folders == set(PACKAGES)
    for folder in folders:
        assert (HERE / folder / "pins.toml").exists()


def test_the_key_covers_the_dockerfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "Dockerfile.builder"
    copy.write_bytes(DOCKERFILE.read_bytes() + b"\n")
    found = recipe_key.__wrapped__  # what it says is kept while the tool runs
    assert found() == recipe_key()
    monkeypatch.setattr(compiled, "DOCKERFILE", copy)
    assert found() != recipe_key()


CHANGES = {
    ".py": "CHANGED = 1\n",
    ".toml": "changed = 1\n",
    ".txt": "changed\n",
    ".patch": "+changed\n",
}
"""What is added to a file of the recipe to change its meaning; any byte does to the others."""
COMMENTS = {
    ".py": "# a comment\n",
    ".toml": "# a comment\n",
    ".txt": "# a comment\n",
}
RECIPE = sorted(path for path in HERE.rglob("*") if path.is_file() and path.suffix != ".pyc")
COMPILED = {"xnnpack", "codecs", "tflite", "numpy", "wrapper", "pillow"}
STEPS = {
    "numpy/build.py": {"numpy", "wrapper"},
    "numpy/patches": {"src/numpy", "numpy", "wrapper"},
    "numpy": set(),
    "pillow/codecs.py": {"codecs", "pillow"},
    "pillow/patches": {"src/pillow", "pillow"},
    "pillow/imports.toml": set(),
    "pillow/ships.txt": set(),
    "pillow": {"pillow"},
    "tflite/patches": {"src/tensorflow", "tflite", "wrapper"},
    "tflite/wrapper": {"wrapper"},
    "tflite/imports.toml": set(),
    "tflite/ships.txt": set(),
    "tflite": {"tflite", "wrapper"},
    "xnnpack/absent": {"wrapper"},
    "xnnpack/build.py": {"xnnpack", "wrapper"},
    "xnnpack/check.py": set(),
    "xnnpack/kernels/test-kernels.c": set(),
    "xnnpack/kernels": {"wrapper"},
    "xnnpack/patches": {"src/xnnpack", "xnnpack", "tflite", "wrapper"},
    "exports.map": {"numpy", "wrapper", "pillow"},
    "export.py": set(),
    "target.py": set(),
    "variants.py": set(),
    "recipe.py": set(),
    "requirements.txt": COMPILED,
    "toolchain.py": COMPILED,
    "backend": set(),
    "imports.py": set(),
    "standins.py": set(),
    "pins.py": set(),
    "rules.py": set(),
    "sources.py": set(),
}
"""How the path of a file of the recipe begins -> the steps that a change of it runs again. Pins do
by what they pin; all others that are not named here concern every step."""
INERT = ("pins.toml", "__init__.py")
"""Names of files that no step takes as a whole."""
KEYS = """
import functools, json, os, re, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from builder.native import recipe, steps, toolchain
keys = {}
def step(self, name, inputs, work):
    keys[name] = " ".join([name, *inputs])
    return keys[name]
steps.Builder.step = step
toolchain.Toolchain.compiler = "c++ 12"
from builder.native import export, sources, target
recipe._code = functools.cache(recipe._code)  # by what is in the file
recipe.digest(recipe.HERE)
short = lambda name: re.sub(r"^cp311/|-\\d+[.].*", "", name)
for line in sys.stdin:
    if not os.fork():  # what is read of the files is read anew
        tools = toolchain.Toolchain(steps.Builder(Path(sys.argv[1], "build"), 1))
        python = target.Python("python", "3.11.2", "cp311", "include", ".so")
        export.build(tools, sources.Sources(tools, [], "3.11"), python, "classifier")
        keys["key"] = recipe.digest(recipe.HERE)
        print(json.dumps({short(name): key for name, key in keys.items()}), flush=True)
        os._exit(0)
    os.wait()
"""

Keys = Callable[[], dict[str, str]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the builder, to be edited."""
    folder = tmp_path_factory.mktemp("checkout")
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "builder", folder / "builder", ignore=left_out)
    return folder


@pytest.fixture(scope="module")
def keys(checkout: Path) -> Iterator[Keys]:
    """Asks for the key of each step, and of the whole recipe as `key`, as the files are then."""
    command = [sys.executable, "-I", "-c", KEYS, str(checkout)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]

        def ask() -> dict[str, str]:
            process.stdin.write("\n")
            process.stdin.flush()
            answer: dict[str, str] = json.loads(process.stdout.readline())
            return answer

        yield ask


@pytest.fixture(scope="module")
def before(keys: Keys) -> dict[str, str]:
    """The keys of what is not edited."""
    return keys()


@contextmanager
def edited(checkout: Path, changes: dict[str, str]) -> Iterator[None]:
    """Files of the recipe with another content, until the block ends."""
    folder = checkout / "builder" / "native"
    texts = {name: (folder / name).read_text("utf-8") for name in changes}
    try:
        for name, text in changes.items():
            (folder / name).write_text(text, "utf-8")
        yield
    finally:
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")


def kind(path: Path) -> str:
    return "" if path.name == "CMakeLists.txt" else path.suffix


def test_comments_compile_nothing_again(checkout: Path, keys: Keys, before: dict[str, str]) -> None:
    """One in every file that may have one, at its end; in patches at their head."""
    commented = {}
    for path in RECIPE:
        text = path.read_text("utf-8")
        if kind(path) in COMMENTS:
            text = f"{text}\n{COMMENTS[kind(path)]}\n"
        elif kind(path) == ".patch":
            text = f"A comment.\n{text}"
        else:
            continue
        commented[path.relative_to(HERE).as_posix()] = text
    assert len(commented) > 50
    with edited(checkout, commented):
        assert keys() == before


@pytest.mark.parametrize("path", RECIPE, ids=lambda path: path.relative_to(HERE).as_posix())
def test_what_a_change_compiles_again(
    path: Path, checkout: Path, keys: Keys, before: dict[str, str]
) -> None:
    """Its package's steps, and the whole's key is another."""
    name = path.relative_to(HERE).as_posix()
    with edited(checkout, {name: path.read_text("utf-8") + CHANGES.get(kind(path), "\n")}):
        after = keys()
    changed = {step for step in before if after[step] != before[step]}
    if name in recipe.WITHOUT_EFFECT:
        assert changed == set()
    else:
        assert "key" in changed
        every = set(before) - {"key"}
        expected = next((STEPS[start] for start in STEPS if name.startswith(start)), every)
        assert changed - {"key"} == (set() if path.name in INERT else expected)


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("numpy", {"src/numpy", "numpy", "wrapper"}),
        ("pillow", {"src/pillow", "pillow"}),
        ("zlib", {"src/zlib", "pillow"}),
        ("libwebp", {"src/libwebp", "codecs", "pillow"}),
        ("pybind11", {"src/pybind11", "wrapper"}),
        ("fxdiv", {"src/fxdiv", "xnnpack", "wrapper"}),
    ],
)
def test_what_another_file_of_a_source_compiles_again(
    source: str, steps: set[str], checkout: Path, keys: Keys, before: dict[str, str]
) -> None:
    pin = pins("3.11")[source]
    name = f"{pin.folder}/pins.toml"
    text = (HERE / name).read_text("utf-8")
    with edited(checkout, {name: text.replace(pin.sha256, "0" * 64)}):
        after = keys()
    assert {step for step in before if after[step] != before[step]} == {*steps, "key"}


def test_what_python_means(tmp_path: Path) -> None:
    """Comments, docstrings and empty lines do not; strings with a # in them do."""
    path = tmp_path / "step.py"
    path.write_text(
        'A = "#1"  # one\n\nB = f"{A} # two"\n\ndef c():\n    """Text."""\n    return A\n'
    )
    assert recipe.meaning(path) == b'A = "#1"\nB = f"{A} # two"\ndef c():\n    return A'


def test_dockerfile_is_clean() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), str(DOCKERFILE)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_each_layer_of_the_container_has_what_its_command_imports(tmp_path: Path) -> None:
    """Every command of the recipe loads from what the Dockerfile has copied until then."""
    commands = re.findall(
        r"^(FROM|COPY|RUN) ((?:.*\\\n)*.*)", DOCKERFILE.read_text("utf-8"), re.MULTILINE
    )
    layer = tmp_path
    tried = []
    for number, (instruction, rest) in enumerate(commands):
        words = rest.replace("\\\n", " ").split()
        if instruction == "FROM":
            layer = tmp_path / str(number)
        elif instruction == "COPY" and not words[0].startswith("--"):
            *files, target = words
            (layer / target).mkdir(parents=True, exist_ok=True)
            for file in files:
                if (ROOT / file).is_dir():
                    shutil.copytree(ROOT / file, layer / target, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / file, layer / target)
        elif instruction == "RUN" and "builder.native" in words:
            command = words[words.index("builder.native") + 1]
            done = subprocess.run(
                [sys.executable, "-I", "-c", IMPORTS, str(layer), command],
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{command}: {done.stderr}"
            tried.append(command)
    assert tried == ["fetch", "libraries", "packages"]


IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from builder.native import __main__, steps, sources
from builder.base.errors import BuildError
def step(self, name, inputs, work):
    return name
steps.Builder.step = step
class Stop(Exception): pass
from builder.native.fetch import Fetcher
Fetcher.fetch = lambda self, pin: None
from builder.native.toolchain import Toolchain
Toolchain.run = lambda *args: ""
options = [sys.argv[2], "--build-dir", sys.argv[1] + "/build"]
if sys.argv[2] == "packages":
    import builder.native.export
    sys.exit()
sys.exit(__main__.run(__main__.parser().parse_args(options)))
"""
