"""Plain pip zips: packages as `pip install -t` leaves them, a hand-written action, the model.

In this folder, for each: what it installs (NAME.in, pinned in NAME.txt) and its action.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from bench.peers.packages import add_files, run_installer, zip_packages
from bench.peers.peer import PACKAGES, PYTHON, Peer, find_python
from bench.results import PeerInfo
from builder.base.environments import ensure_environment
from builder.base.errors import ModelError
from builder.base.files import atomic_write, sha256_of
from builder.model.int8 import convert_to_int8
from builder.model.resolve import Model
from builder.model.tflite import read_model
from builder.packages.wheels import read_pins

HERE = Path(__file__).parent
TFLITE_RUNTIME, AI_EDGE_LITERT, ONNXRUNTIME = "tflite-runtime", "ai-edge-litert", "onnxruntime"
NAMES = {package: f"pip: {package}" for package in (TFLITE_RUNTIME, AI_EDGE_LITERT, ONNXRUNTIME)}


def build_peer(package: str, model: Model) -> Peer:
    """Build the zip of a package, a key of NAMES; kept between runs.

    Those of AI_EDGE_LITERT and ONNXRUNTIME are larger than OpenWhisk takes.

    Raises:
        BuildError: pip or the conversion failed, or there is no Python for it.
        ModelError: the action cannot run this model.
    """
    tensors = model.tflite
    [source], [sink] = tensors.inputs, tensors.outputs
    if not source.scale or not sink.scale or source.shape[3] != 3:
        raise ModelError(
            f"{model.path.name}: expected quantized tensors and a picture in colour, found input "
            f"{source} and output {sink}",
            "the plain pip zips are written for models like the quantized MobileNet v1",
        )
    packages = _install_packages(package)
    archive = add_files(packages, action_files(package, model))
    info = PeerInfo(versions=pinned_versions(package))
    return Peer(NAMES[package], archive, find_python().path, info)


def action_files(package: str, model: Model) -> dict[str, bytes]:
    """Return the model, settings and action of the zip with a package, by name; raises BuildError.

    For ONNX Runtime the model gets the int8 weights that our zip has, and uint8 activations: it is
    fastest with this pair of types.
    """
    path, tensors, offset = model.path, model.tflite, 0
    if package == ONNXRUNTIME:
        path = convert_to_onnx(model)
        tensors = read_model(path.with_name("model.tflite"))
        offset = 128 if tensors.inputs[0].dtype == "int8" else 0  # int8 became uint8
    [source], [sink] = tensors.inputs, tensors.outputs
    settings = {
        "model": f"model{path.suffix}",
        "input": [source.scale, source.zero_point + offset],
        "output": [sink.scale, sink.zero_point + offset],
        **{key: model.settings.as_dict()[key] for key in ("labels", "mean", "std")},
    }
    return {
        f"model{path.suffix}": path.read_bytes(),
        "model.json": json.dumps(settings).encode(),
        "__main__.py": (HERE / "action.py").read_bytes(),
        "interpreters.py": (HERE / "interpreters.py").read_bytes(),
    }


def _install_packages(package: str) -> Path:
    """Zip what `pip install -t` installs for a package, once; raises BuildError if pip fails.

    pip compiles code files for this process's Python; they serve where that is the peers'.
    """
    requirements = HERE / f"{package}.txt"
    options = ["--only-binary", ":all:", "--python-version", PYTHON]
    for platform in read_pins()["wheels"]["platforms"]:
        options += ["--platform", platform]

    def install(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
        command += ["--disable-pip-version-check", "--require-hashes", *options]
        command += ["--target", str(folder), "-r", str(requirements)]
        run_installer(command, f"pip install -r {requirements.name}")

    key = "\n".join([sys.version, *options, requirements.read_text("utf-8")])
    return zip_packages(f"pip-{package}", key.encode(), install)


def pinned_versions(package: str) -> dict[str, str]:
    """Return the versions of a package and of its dependencies, by name."""
    requirements = (HERE / f"{package}.txt").read_text("utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)", requirements, re.MULTILINE))


def convert_to_onnx(model: Model) -> Path:
    """Convert a model to int8 weights, to ONNX, then to uint8 activations; kept between runs.

    Returns:
        The .onnx; `model.tflite` beside it has the int8 weights.

    Raises:
        BuildError: tf2onnx failed, or could not be installed.
    """
    requirements, script = HERE / "tf2onnx.txt", HERE / "onnx_unsigned.py"
    key = "-".join(sha256_of(path)[:12] for path in (model.path, requirements, script))
    folder = PACKAGES / "onnx" / key
    int8, signed, network = (
        folder / name for name in ("model.tflite", "signed.onnx", "model.onnx")
    )
    if network.exists():
        return network
    python = str(ensure_environment("tf2onnx", requirements, find_python().path))
    converted = convert_to_int8(model.tflite)
    with atomic_write(int8) as part:
        part.write_bytes(converted.content if converted else model.path.read_bytes())
    with atomic_write(signed) as part:
        options = ["--tflite", str(int8), "--output", str(part)]
        run_installer([python, "-m", "tf2onnx.convert", *options], "the conversion to ONNX")
    with atomic_write(network) as part:
        run_installer([python, script, signed, part], "the conversion to uint8")
    return network
