"""Deploy a zip to OpenWhisk: choose its kind, upload it, invoke it; or delete an action.

All that can be asked is asked before anything is built, so that the zip is for a kind of the
platform, and a wrong key, name or limit costs no minutes of work.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from builder.base import images
from builder.base.console import Console
from builder.base.errors import BuildError, UsageError
from builder.deploy import credentials
from builder.deploy.openwhisk import OpenWhisk, PlatformError, parse_name
from builder.deploy.upload import (
    ActionSettings,
    EarlierAction,
    describe_action,
    put_back,
    upload_action,
)
from builder.deploy.verify import Deployment, verify_action

# Of a new action, where the platform allows so much.
TIMEOUT_MS = 60_000


@dataclass(frozen=True)
class Kind:
    """A kind of the platform: name, Python version, and the image's name if the host says it."""

    name: str
    python: str
    image: str = ""


@dataclass(frozen=True)
class DeploymentOptions:
    """The options of `deploy` and `undeploy`, as `build_zip.py deploy --help` explains them."""

    name: str
    apihost: str = ""
    auth: str = ""
    insecure: bool = False
    ca: str = ""
    keep_broken: bool = False
    settings: ActionSettings = field(default_factory=ActionSettings)


class Platform:
    """An OpenWhisk that takes the zip, and the action's name there."""

    def __init__(self, options: DeploymentOptions, console: Console) -> None:
        """Connect to the platform; read its kinds, the key's limits and the earlier action.

        Raises:
            BuildError: the name, the host, the key or a limit cannot be used.
            PlatformError: the host does not answer, does not take the key, or lacks the package.
        """
        self._options, self._console = options, console
        self._name = parse_name(options.name, web=True)
        secret = options.settings.secret or ""
        read = credentials.read_secret("--web-secure", secret) or None
        self._settings = replace(options.settings, secret=read)
        self._client = connect(options, console)
        self._host = self._client.host.url
        if credentials.is_visible(secret) and secret not in ("true", "false"):
            console.warn("--web-secure: processes here can read the secret; @FILE hides it")
        with console.step(f"OpenWhisk at {self._host}") as details:
            self._info = self._client.info()
            self._package = self._client.package_parameters(self._name)
            before = self._client.action(self._name)
            self._check_earlier(before)
            self._check_limits()
            kinds = self._info.kinds
            shown = "not listed, so named after the Python version" if kinds is None else "none"
            details.append(f"its Python kinds: {', '.join(sorted(kinds or ())) or shown}")
            details.append(f"{self._name} {'exists and is updated' if before else 'is new'}")

    def _check_earlier(self, before: dict[str, Any] | None) -> None:
        """Raise BuildError if the name is taken by an action of another language."""
        kind = before.get("exec", {}).get("kind", "unknown") if before else "python:"
        if not kind.startswith("python:"):
            raise BuildError(
                f"{self._name} is an action of kind {kind}, not one of this function's",
                "choose another name with --name, or delete it first: undeploy NAME",
            )

    def _check_limits(self) -> None:
        """Raise UsageError if --memory or --timeout is outside the key's limits."""
        asked, info = self._settings, self._info
        for option, value, bounds in (
            ("--memory", asked.memory, info.memory),
            ("--timeout", asked.timeout, info.timeout),
        ):
            if value and bounds and not bounds[0] <= value <= bounds[1]:
                limits = f"{bounds[0]} to {bounds[1]}, the key's limits"
                raise UsageError(f"{option}: expected {limits}, found {value}")

    def check_memory(self, needed: int, what: str = "this zip") -> None:
        """Raise BuildError if the action cannot get the memory that it needs, in MB."""
        given = self._settings.memory or needed
        most = self._info.memory[1] if self._info.memory else needed
        text = f"{self._host} gives an action {most} MB at most, {what} needs {needed} MB"
        if given < needed:
            text = f"--memory: {what} needs {needed} MB, found {given}"
        if min(given, most) < needed:
            hint = "a smaller zip needs less: compiled packages instead of --runtime wheels"
            raise BuildError(text, hint)

    def preferred_pythons(self, supported: Sequence[str]) -> list[str]:
        """Return these Python versions, that of the platform's default kind first."""
        default = self._python_of(self._info.default)
        return list(dict.fromkeys(sorted(supported, key=lambda python: python != default)))

    def choose_kind(self, pythons: Sequence[str], named: str | None = None) -> Kind:
        """Return the kind that the user named, or the first that runs one of these Pythons.

        Raise BuildError if the platform has none; the message names those it has.
        """
        kinds, wanted = self._info.kinds, " or ".join(pythons)
        if kinds is None:
            python = self._python_of(named or "") or pythons[0]
            return Kind(named or f"python:{pythons[0]}", python)
        known = ", ".join(sorted(kinds)) or "none for Python"
        if named and named not in kinds:
            hint = "choose one of these with --kind"
            raise BuildError(f"{self._host} has no kind {named}; it has {known}", hint)
        names = [named] if named else [*(f"python:{each}" for each in pythons), *kinds]
        for name in names:
            if name in kinds and (python := self._python_of(name)) in pythons:
                return Kind(name, python, kinds[name])
        raise BuildError(
            f"{named} of {self._host} runs Python {self._python_of(named)}, the zip is for {wanted}"
            if named
            else f"{self._host} has no kind for Python {wanted}; it has {known}",
            "build for one of its kinds with --python X.Y, or ask the platform's operator",
        )

    def _python_of(self, kind: str) -> str:
        """Return the Python version of a kind, as the host's image says; empty if unknown."""
        if exact := re.fullmatch(r"python:(\d+\.\d+)", kind):
            return exact[1]
        image = images.identify_image((self._info.kinds or {}).get(kind, ""))
        known = [image] if image else images.images_of_kind(kind)
        return known[0].python if known else ""

    def choose_environment(self, kind: Kind, wanted: bool | None) -> str:
        """Return OW_EXECUTION_ENV of the image to precompile for; empty for a portable zip.

        With `wanted`, raise BuildError if the image is not known; None means where that is safe.
        """
        image = images.identify_image(kind.image)
        if wanted is None and image and image.execution_env:
            wanted = image.survives_upgrades
            if not wanted:
                self._console.note(
                    f"a portable zip: an upgrade of {image.platform}'s image would break a "
                    "precompiled one. --precompiled makes one, which starts in half the time"
                )
        if not wanted:
            return ""
        if image and image.execution_env:
            return image.execution_env
        raise BuildError(
            f"--precompiled: {self._host} runs {kind.name} in {kind.image or 'an image'}, whose "
            "OW_EXECUTION_ENV is not known",
            "pass it with --execution-env, or build with --portable",
        )

    def check_environment(self, kind: Kind, execution_env: str) -> None:
        """Raise BuildError if a precompiled zip is for another image than the kind's."""
        image = images.identify_image(kind.image)
        if execution_env and image and image.execution_env not in ("", execution_env):
            raise BuildError(
                f"the zip is precompiled for {execution_env}, {kind.name} of {self._host} is "
                f"{image.execution_env}",
                "build it again for this platform: deploy without ZIP; or choose another --kind",
            )

    def deploy(
        self,
        archive: Path,
        kind: Kind,
        memory: int,
        sample: Path,
        expected: list[dict[str, Any]] | None,
    ) -> Deployment:
        """Upload the zip, which needs `memory` MB, and verify it; arguments as `verify_action`.

        If it is refused or does not answer as here, put the earlier action back, and raise
        BuildError.
        """
        self.check_memory(memory)
        client, name, console = self._client, self._name, self._console
        before = EarlierAction(client.action(name, code=True), self._package)
        least = self._info.memory[0] if self._info.memory else 0
        timeout = min(TIMEOUT_MS, self._info.timeout[1] if self._info.timeout else TIMEOUT_MS)
        document = describe_action(before, kind.name, max(memory, least), timeout, self._settings)
        after = upload_action(client, name, document, archive, console)
        try:
            deployment = verify_action(client, name, after, sample, expected, console)
        except PlatformError as error:
            if self._options.keep_broken:
                console.warn(f"--keep-broken: {name} stays as it is")
                raise
            try:
                put_back(client, name, before, after, console)
            except PlatformError as other:
                console.warn(f"{name} failed its check, but could not be put back: {other}")
            raise error
        return replace(deployment, created=before.document is None)

    def show(self, deployment: Deployment) -> None:
        """Print the action's address and the commands that invoke it."""
        host, name, console = self._client.host, shlex.quote(deployment.name), self._console
        console.text()
        if not deployment.url:
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
        console.text(f"    {deployment.url}")
        console.text("The same for programs:")
        url = shlex.quote(deployment.url)
        if deployment.secured:
            curl += " -H 'x-require-whisk-auth: SECRET'"
            console.text(f"The SECRET is shown by: wsk action get {name}")
        console.command(f"curl{curl} -H 'content-type: image/jpeg' --data-binary @cat.jpg {url}")
        console.command(f"python3 -m action --url {url}{client} cat.jpg")


def connect(options: DeploymentOptions, console: Console) -> OpenWhisk:
    """Return a connection to the host; warn of what others can see."""
    host = credentials.find_host(options.apihost, options.auth, options.insecure, options.ca)
    if credentials.is_visible(options.auth):
        console.warn("--auth: processes here can read the key; WHISK_AUTH or @FILE hides it")
    if host.insecure:
        console.warn("--insecure: the host's certificate is not verified")
    if host.url.startswith("http:"):
        console.note("http: the key and the pictures travel in the clear")
    return OpenWhisk(host)


def undeploy(options: DeploymentOptions, console: Console) -> None:
    """Delete the action; raise BuildError if there is none, or if the platform refuses."""
    name, client = parse_name(options.name), connect(options, console)
    with console.step(f"undeploy {name}") as details:
        if not client.delete(name):
            raise BuildError(f"no action {name} on {client.host.url}", "see: wsk action list")
        details.append(f"{name} is deleted")
