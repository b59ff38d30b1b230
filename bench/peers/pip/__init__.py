"""Plain pip zips: packages as `pip install -t` leaves them, an action written by hand, the model.

Beside this file are, for each, what it installs (NAME.in, pinned in NAME.txt) and its action.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.peers import peer as peers
from bench.peers.peer import Peer
from builder.base.console import Console
from builder.base.environments import ensure_environment
from builder.base.errors import BuildError, ModelError
from builder.base.files import atomic_write, lock, sha256_of
from builder.model.int8 import convert_to_int8
from builder.model.resolve import Model
from builder.model.tflite import read_model
from builder.packages.wheels import read_pins

HERE = Path(__file__).parent
TFLITE_RUNTIME, AI_EDGE_LITERT, ONNXRUNTIME = "tflite-runtime", "ai-edge-litert", "onnxruntime"
"""Names of the packages; the peers' names are those of `named`."""


def named(package: str) -> str:
    """What the peer with a package is called."""
    return f"pip: {package}"


def tflite_runtime(model: Model, console: Console) -> Peer:
    """The last tflite-runtime, with the numpy 1 that it wants, and Pillow.

    Raises:
        BuildError: pip failed, or there is no Python for it.
        ModelError: the action cannot run this model.
    """
    return _peer(TFLITE_RUNTIME, tflite_files(model), console)


def ai_edge_litert(model: Model, console: Console) -> Peer:
    """Its successor, with all that it declares to need: more than OpenWhisk takes.

    Raises: as `tflite_runtime`.
    """
    return _peer(AI_EDGE_LITERT, tflite_files(model), console)


def onnxruntime(model: Model, console: Console) -> Peer:
    """ONNX Runtime with the same network, converted by tf2onnx: more than OpenWhisk takes, too.

    Raises: as `tflite_runtime`, and as `onnx_files`.
    """
    return _peer(ONNXRUNTIME, onnx_files(model, console), console)


def tflite_files(model: Model) -> dict[str, bytes]:
    """What the zips with TFLite have beside their packages, by name: model, settings and action.

    Raises:
        ModelError: the action cannot run this model.
    """
    _check(model)
    return {
        "model.tflite": model.path.read_bytes(),
        "model.json": _settings(model),
        "__main__.py": (HERE / "tflite_action.py").read_bytes(),
    }


def onnx_files(model: Model, console: Console) -> dict[str, bytes]:
    """The same for ONNX Runtime.

    The network gets the int8 weights that our zip has, and uint8 activations: of all pairs the one
    that ONNX Runtime is fastest with.

    Raises:
        BuildError: tf2onnx failed, or could not be installed.
        ModelError: the action cannot run this model, or its uint8 weights cannot be converted.
    """
    _check(model)
    int8, _ = _converted(model, console)
    tensors = read_model(int8)
    [source], [sink] = tensors.inputs, tensors.outputs
    quantization = {
        name: [tensor.scale, tensor.zero_point + (128 if tensor.dtype == "int8" else 0)]
        for name, tensor in (("input", source), ("output", sink))
    }
    return {
        "model.onnx": onnx_unsigned(model, console).mixed.read_bytes(),
        "model.json": _settings(model, **quantization),
        "__main__.py": (HERE / "onnx_action.py").read_bytes(),
    }


def _check(model: Model) -> None:
    tensors = model.tflite
    [source], [sink] = tensors.inputs, tensors.outputs
    if not source.scale or not sink.scale or source.shape[3] != 3:
        raise ModelError(
            f"{model.path.name}: expected quantized tensors and a picture in colour, found input "
            f"{source} and output {sink}",
            "the plain pip zips are written for models like the quantized MobileNet v1",
        )


def _settings(model: Model, **quantization: list[float]) -> bytes:
    known = {key: model.settings.as_dict()[key] for key in ("labels", "mean", "std")}
    return json.dumps(known | quantization).encode()


def _peer(package: str, files: dict[str, bytes], console: Console) -> Peer:
    """The zip of a package and its dependencies with `files` beside them; kept between runs."""
    packages = _packages(package, console)
    key = hashlib.sha256(packages.name.encode())
    for name, content in files.items():
        key.update(f"\n{name} {hashlib.sha256(content).hexdigest()}".encode())
    archive = peers.FOLDER / f"pip-{package}-{key.hexdigest()[:12]}.zip"
    if not archive.exists():
        peers.extend(packages, files, archive)
    return Peer(named(package), archive, peers.interpreter().path, versions(package))


def _packages(package: str, console: Console) -> Path:
    """A zip of what `pip install -t` makes of a package and all that it needs; made once.

    What pip compiles is of this process's Python: code files serve where that is the peers'.

    Raises:
        BuildError: pip failed.
    """
    key = hashlib.sha256("\n".join([sys.version, _requirements(package), *_target()]).encode())
    archive = peers.PARTS / f"{package}-{key.hexdigest()[:12]}.zip"
    with lock(archive, f"making the pip zip of {package}", console.note):
        if not archive.exists():
            with (
                console.step(f"pip zip of {package}"),
                atomic_write(archive) as part,
                tempfile.TemporaryDirectory(prefix="pip-", dir=archive.parent) as scratch,
            ):
                _install(package, Path(scratch))
                peers.pack(Path(scratch), part)
    return archive


def versions(package: str) -> dict[str, str]:
    """Of a package and of all that comes with it, by name."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", _requirements(package), re.MULTILINE))


def _install(package: str, folder: Path) -> None:
    requirements = HERE / f"{package}.txt"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--require-hashes", *_target()]
    command += ["--target", str(folder), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(
            f"pip could not install {requirements.name}:\n{done.stderr.strip()[-500:]}",
            "check the network and pip's settings (pip config list), then run this again",
        )


def _requirements(package: str) -> str:
    return (HERE / f"{package}.txt").read_text("utf-8")


def _target() -> list[str]:
    """Options for wheels for the peers' Python on Linux x86_64, whatever Python this one is."""
    options = ["--only-binary", ":all:", "--python-version", peers.PYTHON]
    platforms = read_pins()["wheels"]["platforms"]
    return options + [word for tag in platforms for word in ("--platform", tag)]


@dataclass(frozen=True)
class Unsigned:
    """The same network for ONNX Runtime's other kernels.

    Attributes:
        mixed: activations are uint8, weights int8.
        both: activations and weights are uint8.
    """

    mixed: Path
    both: Path


def onnx_unsigned(model: Model, console: Console) -> Unsigned:
    """The network that our zip has, in ONNX, with unsigned bytes; raises BuildError."""
    _, network = _converted(model, console)
    script = HERE / "onnx_unsigned.py"
    stem = f"unsigned-{sha256_of(script)[:12]}"
    made = Unsigned(network.with_name(f"{stem}.onnx"), network.with_name(f"{stem}-weights.onnx"))
    for path, options in ((made.mixed, []), (made.both, ["weights"])):
        if not path.exists():
            with console.step("unsigned ONNX"), atomic_write(path) as part:
                command = [_tf2onnx(), str(script), str(network), str(part), *options]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise BuildError(f"{network.name} stays signed: {done.stderr.strip()[-500:]}")
    return made


def _tf2onnx() -> str:
    """The interpreter of the environment with tf2onnx and onnx."""
    return str(ensure_environment("tf2onnx", HERE / "tf2onnx.txt", peers.interpreter().path))


def _converted(model: Model, console: Console) -> tuple[Path, Path]:
    """The model as a .tflite with int8 weights, and that as ONNX; kept between runs."""
    requirements = HERE / "tf2onnx.txt"
    folder = peers.PARTS / "onnx" / f"{sha256_of(model.path)[:12]}-{sha256_of(requirements)[:12]}"
    int8, network = folder / "model.tflite", folder / "model.onnx"
    if network.exists():
        return int8, network
    with console.step("conversion to ONNX"):
        converted = convert_to_int8(model.tflite)
        with atomic_write(int8) as part:
            part.write_bytes(converted.content if converted else model.path.read_bytes())
        with atomic_write(network) as part:
            command = [_tf2onnx(), "-m", "tf2onnx.convert"]
            command += ["--tflite", str(int8), "--output", str(part)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise BuildError(f"tf2onnx could not convert it: {done.stderr.strip()[-500:]}")
    return int8, network
