"""The same for DigitalOcean's Functions, by that platform's own tool, `doctl`."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from builder.base.errors import BuildError
from builder.deploy.openwhisk import PlatformError

PACKAGE = "classify"
TIMEOUT_SECONDS = 300

PROJECT = """\
packages:
  - name: {package}
    functions:
      - name: {name}
        runtime: {kind}
        web: raw # the body comes as it is, which pictures and multipart forms need
        limits:
          memory: {memory} # MB
          timeout: 60000 # ms
"""


def lines(archive: Path, name: str, kind: str, memory: int) -> list[str]:
    """What to type where `doctl` is not installed."""
    folder = f"packages/{PACKAGE}"
    project = PROJECT.format(package=PACKAGE, name=name, kind=kind, memory=memory)
    return [
        f"mkdir -p {folder} && cp {shlex.quote(str(archive.resolve()))} {folder}/{name}.zip",
        f"cat > project.yml <<'END'\n{project}END",
        "doctl serverless connect",
        "doctl serverless deploy .",
        f"doctl serverless functions get {PACKAGE}/{name} --url",
    ]


def deploy(archive: Path, name: str, kind: str, memory: int) -> str:
    """Deploy by `doctl`; returns the function's address.

    Args:
        archive: the zip.
        name: of the function, in the package "classify".
        kind: of its runtime, as "python:3.11".
        memory: in MB.

    Raises:
        BuildError: `doctl` is not installed; the hint is what to type elsewhere.
        PlatformError: it failed; with what it printed.
    """
    doctl = shutil.which("doctl")
    if not doctl:
        raise BuildError(
            "--deploy --platform digitalocean: expected doctl on the PATH, found none",
            "install it, or type on a machine that has it:\n"
            + "\n".join(lines(archive, name, kind, memory)),
        )
    with tempfile.TemporaryDirectory(prefix="deploy-") as scratch:
        folder = Path(scratch)
        place = folder / "packages" / PACKAGE
        place.mkdir(parents=True)
        shutil.copy(archive, place / f"{name}.zip")
        project = PROJECT.format(package=PACKAGE, name=name, kind=kind, memory=memory)
        (folder / "project.yml").write_text(project, "utf-8")
        _run([doctl, "serverless", "deploy", str(folder)])
    return _run([doctl, "serverless", "functions", "get", f"{PACKAGE}/{name}", "--url"]).strip()


def undeploy(name: str) -> None:
    """Delete the function; raises as `deploy` does."""
    doctl = shutil.which("doctl")
    if not doctl:
        raise BuildError(
            "--undeploy --platform digitalocean: expected doctl on the PATH, found none",
            f"type where it is: doctl serverless undeploy {PACKAGE}/{name}",
        )
    _run([doctl, "serverless", "undeploy", f"{PACKAGE}/{name}"])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise PlatformError(
            f"doctl has not ended within {TIMEOUT_SECONDS} s", "try it by hand"
        ) from error
    if done.returncode:
        tail = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise PlatformError(
            f"'{shlex.join(command[1:4])}' of doctl failed:\n{tail}",
            "is it connected? doctl auth init; doctl serverless connect",
        )
    return done.stdout
