"""Deploy a zip to OpenWhisk: choose its kind, upload it, invoke it; or delete an action.

The platform is asked for its kinds before anything is built, so that the zip is for one of them and
a wrong key costs no minutes of work.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.base.console import Console
from builder.base.errors import BuildError
from builder.deploy import credentials
from builder.deploy.openwhisk import OpenWhisk, parse_name
from builder.deploy.upload import Kind, WebAccess, match_kind, upload_action
from builder.deploy.verify import Deployment, verify_action


@dataclass(frozen=True)
class DeploymentOptions:
    """The options of `deploy` and `undeploy`, as `build_zip.py deploy --help` explains them."""

    name: str
    apihost: str = ""
    auth: str = ""
    insecure: bool = False
    web: str | None = None
    secret: str | None = None


class Platform:
    """An OpenWhisk that takes the zip, and the action's name there."""

    def __init__(self, options: DeploymentOptions, console: Console) -> None:
        """Connect to the platform and read its kinds.

        Raises:
            BuildError: the name, the host or the key cannot be used.
            PlatformError: the host does not answer, or does not take the key.
        """
        self._options = options
        self._console = console
        host = credentials.find_host(options.apihost, options.auth, options.insecure)
        self._name = parse_name(options.name, host.namespace)
        self._client = OpenWhisk(host)
        self._host = host.url
        with console.step(f"OpenWhisk at {host.url}") as details:
            if options.insecure:
                console.warn("--insecure: the host's certificate is not verified")
            if host.url.startswith("http:"):
                console.note("http: the key and the pictures travel in the clear")
            self._info = self._client.info()
            exists = self._client.action(self._name)  # which the key has to allow
            kinds = self._info.kinds
            details.append(
                "its Python kinds: " + ", ".join(sorted(kinds) or ["none"])
                if kinds is not None
                else "it does not list its kinds: the kind is named after the Python version"
            )
            details.append(f"{self._name} " + ("exists and is updated" if exists else "is new"))

    def choose_kind(self, pythons: Sequence[str], named: str | None = None) -> Kind:
        """Return the platform's kind for one of these Python versions.

        Args:
            pythons: versions as "3.11", the preferred one first.
            named: the kind that the user asks for; None for any.

        Raises:
            BuildError: the platform has none.
        """
        kinds = self._info.kinds
        if named is None:
            return match_kind(self._info, pythons, self._host)
        if kinds is not None and named not in kinds:
            raise BuildError(
                f"{self._host} has no kind {named}; it has {', '.join(sorted(kinds)) or 'none'}",
                "choose one of these with --kind",
            )
        return Kind(named, pythons[0])

    def deploy(
        self,
        archive: Path,
        kind: Kind,
        memory: int,
        sample: Path,
        expected: list[dict[str, Any]] | None,
    ) -> Deployment:
        """Upload the zip and verify it; arguments as `upload_action` and `verify_action`."""
        most = self._info.max_memory
        if most is not None and memory > most:
            raise BuildError(
                f"{self._host} gives an action {most} MB at most, this zip needs {memory} MB",
                "a smaller zip needs less: compiled packages instead of --runtime wheels",
            )
        web = WebAccess(self._options.web, self._options.secret)
        document, created = upload_action(
            self._client, self._name, kind, archive, memory, web, self._console
        )
        return verify_action(
            self._client, self._name, document, created, sample, expected, self._console
        )


def undeploy(options: DeploymentOptions, console: Console) -> None:
    """Delete the action.

    Raises:
        BuildError: there is none, or the platform refused.
    """
    host = credentials.find_host(options.apihost, options.auth, options.insecure)
    name = parse_name(options.name, host.namespace)
    with console.step(f"undeploy {name}") as details:
        deleted = OpenWhisk(host).delete(name)
        if deleted is None:
            raise BuildError(f"{host.url} has no action {name}", "'wsk action list' shows them")
        details.append(f"{deleted.get('namespace', name.namespace)}/{name.action} is deleted")


def show_deployment(deployment: Deployment, console: Console) -> None:
    """Print the action's address and the commands that invoke it."""
    console.text()
    if not deployment.url:
        name = shlex.quote(deployment.name)
        console.text(f"{deployment.name} is deployed; it is no web action. Invoke it with the key:")
        console.command(f"wsk action invoke {name} -r --param-file picture.json")
        return
    url = shlex.quote(deployment.url)
    console.text(f"{deployment.name} is deployed. Its page, for a browser:")
    console.text(f"    {deployment.url}")
    console.text("The same for programs:")
    secret = " -H 'x-require-whisk-auth: SECRET'" if deployment.secured else ""
    console.command(f"curl -H 'content-type: image/jpeg'{secret} --data-binary @cat.jpg {url}")
    console.command(f"python3 -m action --url {url} cat.jpg")
