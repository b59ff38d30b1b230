"""Deploy a zip: ask the platform, upload the zip, verify it, put the earlier one back if it fails.

All that can be asked is asked before anything is built, so that the zip is for a kind of the
platform, and a wrong key, name or limit costs no minutes of work.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.base.console import Console, megabytes
from builder.base.errors import BuildError, UsageError
from builder.deploy.action_document import (
    ActionSettings,
    Document,
    describe_action,
    describe_earlier,
    describe_restored,
)
from builder.deploy.credentials import Host, read_secret
from builder.deploy.python_kinds import Kind, PythonKinds
from builder.deploy.rest_api import PlatformError, RestApi, parse_name
from builder.deploy.verify import DeployedAction, verify_action

# Of a new action, where the platform allows so much.
TIMEOUT_MS = 60_000


class Deployment:
    """The deployment of a zip as one action.

    Attributes:
        kinds: of the host.
    """

    def __init__(self, host: Host, name: str, settings: ActionSettings, console: Console) -> None:
        """Read the host's kinds, the key's limits and the earlier action.

        Raises:
            BuildError: the name, the secret or a limit cannot be used.
            PlatformError: the host does not answer, does not take the key, or lacks the package.
        """
        self._host, self._settings, self._console = host, settings, console
        self._name = parse_name(name)
        if settings.secret not in (None, "true", "false"):
            secret = read_secret("--web-secure", settings.secret, console)
            self._settings = replace(settings, secret=secret)
        self._api = RestApi(host)
        with console.step(f"OpenWhisk at {host.url}") as details:
            published = self._api.host_info()
            self.kinds = PythonKinds(host.url, published.get("runtimes"))
            self._limits = self._api.limits(published.get("limits"))
            self._package = self._api.package_parameters(self._name)
            before = self._api.action(self._name)
            self._check_language(before)
            self._check_limits()
            details.append(f"{self._name} {'exists and is updated' if before else 'is new'}")

    def _check_language(self, before: Document | None) -> None:
        """Raise BuildError if the name is taken by an action of another language."""
        kind = before.get("exec", {}).get("kind", "unknown") if before else "python:"
        if not kind.startswith("python:"):
            raise BuildError(
                f"{self._name} is an action of kind {kind}, not one of this function's",
                "choose another name with --name, or delete it first: undeploy NAME",
            )

    def _check_limits(self) -> None:
        """Raise UsageError if --memory or --timeout is outside the key's limits."""
        for name, (least, most) in self._limits.items():
            value = getattr(self._settings, name)
            if value and not least <= value <= most:
                expected = f"{least} to {most}, the key's limits"
                raise UsageError(f"--{name}: expected {expected}, found {value}")

    def check_memory(self, needed: int, what: str = "this zip") -> None:
        """Raise BuildError if the action cannot get the memory that it needs, in MB."""
        given = self._settings.memory or needed
        most = self._limits["memory"][1]
        text = f"{self._host.url} gives an action {most} MB at most, {what} needs {needed} MB"
        if given < needed:
            text = f"--memory: {what} needs {needed} MB, found {given}"
        if min(given, most) < needed:
            hint = "a smaller zip needs less: compiled packages instead of --runtime wheels"
            raise BuildError(text, hint)

    def run(
        self,
        archive: Path,
        kind: Kind,
        memory: int,
        expected: list[dict[str, Any]] | None,
        keep_broken: bool,
    ) -> DeployedAction:
        """Upload the zip, which needs `memory` MB, and verify it; arguments as `verify_action`.

        If it is refused or does not answer as here, put the earlier action back unless
        `keep_broken`, and raise BuildError.
        """
        self.check_memory(memory)
        name, console = self._name, self._console
        found = self._api.action(name, code=True)
        before = describe_earlier(found, self._package) if found else None
        memory = max(memory, self._limits["memory"][0])
        timeout = min(TIMEOUT_MS, self._limits["timeout"][1])
        document = describe_action(before, kind.name, memory, timeout, self._settings)
        after = self._upload(document, archive)
        try:
            return verify_action(self._api, name, after, found is None, expected, console)
        except PlatformError:
            if keep_broken:
                console.warn(f"--keep-broken: {name} stays as it is")
                raise
            try:
                self._put_back(found, after)
            except PlatformError as error:
                console.warn(f"{name} failed its check, but could not be put back: {error}")
            raise

    def _upload(self, document: Document, archive: Path) -> Document:
        """Put the described action with a zip's code; return its new document without the code."""
        name, code = self._name, base64.b64encode(archive.read_bytes()).decode()
        document = {**document, "exec": {**document["exec"], "code": code}}
        with self._console.step(f"upload {name}") as details:
            self._api.put(name, document)
            after = self._api.action(name)  # some hosts answer PUT without it
            if after is None:
                raise BuildError(f"{self._host.url} took {name}, but does not have it")
            limit, size = after["limits"]["memory"], megabytes(archive.stat().st_size)
            version = after.get("version", "?")
            details.append(f"version {version}, {after['exec']['kind']}, {limit} MB, {size}")
        return after

    def _put_back(self, earlier: Document | None, failed: Document) -> None:
        """Undo an upload whose check failed: put the earlier action, or delete a new one."""
        done = "was deleted"
        if earlier is None:
            self._api.delete(self._name)
        else:
            self._api.put(self._name, describe_restored(earlier, self._package, failed))
            done = f"version {earlier.get('version', '?')} was put back"
        self._console.warn(f"{self._name} failed its check: {done} (see --keep-broken)")

    def show(self, action: DeployedAction) -> None:
        """Print the action's address and the commands that invoke it."""
        host, name, console = self._host, shlex.quote(action.name), self._console
        console.text()
        if not action.url:
            wsk = "wsk -i" if host.insecure else "wsk"
            console.text(f"{name} is deployed; it is no web action. Invoke it with the key:")
            console.command(f"{wsk} action invoke {name} -r --param-file picture.json")
            return
        curl, client = "", ""
        if host.insecure:
            curl, client = " -k", " --insecure"
        elif host.ca:
            curl, client = f" --cacert {shlex.quote(host.ca)}", f" --ca {shlex.quote(host.ca)}"
        console.text(f"{name} is deployed. Its page, for a browser:")
        console.text(f"    {action.url}")
        console.text("The same for programs:")
        url = shlex.quote(action.url)
        if action.secured:
            curl += " -H 'x-require-whisk-auth: SECRET'"
            console.text(f"The SECRET is shown by: wsk action get {name}")
        console.command(f"curl{curl} -H 'content-type: image/jpeg' --data-binary @cat.jpg {url}")
        console.command(f"python3 -m action --url {url}{client} cat.jpg")


def undeploy(host: Host, action: str, console: Console) -> None:
    """Delete the action; raise BuildError if there is none, or if the platform refuses."""
    name = parse_name(action)
    with console.step(f"undeploy {name}") as details:
        if not RestApi(host).delete(name):
            raise BuildError(f"no action {name} on {host.url}", "see: wsk action list")
        details.append(f"{name} is deleted")
