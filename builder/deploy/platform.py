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
from builder.deploy.openwhisk import OpenWhisk, PlatformError, check_web_name, parse_name
from builder.deploy.upload import (
    TIMEOUT_MS,
    ActionSettings,
    check_kind,
    describe_action,
    put_back,
    upload_action,
)
from builder.deploy.verify import Deployment, verify_action


@dataclass(frozen=True)
class Kind:
    """A kind of the platform.

    Attributes:
        name: as "python:3.11".
        python: its version.
        image: what the host says that it runs; empty if it does not.
    """

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
        self._name = parse_name(options.name)
        check_web_name(self._name)
        secret = options.settings.secret
        self._settings = replace(
            options.settings,
            secret=None if secret is None else credentials.read_secret("--web-secure", secret),
        )
        self._client = connect(options, console)
        self._host = self._client.host.url
        if credentials.is_visible(secret or "") and secret not in ("true", "false"):
            console.warn("--web-secure: processes here can read the secret; @FILE hides it")
        with console.step(f"OpenWhisk at {self._host}") as details:
            self._info = self._client.info()
            self._package = self._client.package_parameters(self._name)
            self._before = self._client.action(self._name)
            check_kind(self._name, self._before)
            self._check_limits()
            kinds = self._info.kinds
            details.append(
                "its Python kinds: " + ", ".join(sorted(kinds) or ["none"])
                if kinds is not None
                else "it does not list its kinds: the kind is named after the Python version"
            )
            state = "exists and is updated" if self._before else "is new"
            details.append(f"{self._name} {state}")

    def _check_limits(self) -> None:
        """Raise UsageError if --memory or --timeout is outside the key's limits."""
        memory, timeout = self._settings.memory, self._settings.timeout
        least, most = self._info.memory or (0, memory or 0)
        if memory and not least <= memory <= most:
            raise UsageError(
                f"--memory: expected {least} to {most}, found {memory}: these are the key's limits"
            )
        longest = self._info.max_timeout
        if timeout and longest is not None and timeout > longest:
            raise UsageError(
                f"--timeout: expected at most {longest} ms, the key's limit, found {timeout}"
            )

    def check_memory(self, needed: int, what: str = "this zip") -> None:
        """Raise BuildError if the action cannot get the memory that it needs, in MB."""
        given = self._settings.memory
        most = self._info.memory[1] if self._info.memory else None
        hint = "a smaller zip needs less: compiled packages instead of --runtime wheels"
        if given is not None and given < needed:
            raise BuildError(f"--memory: {what} needs {needed} MB, found {given}", hint)
        if most is not None and needed > most:
            raise BuildError(
                f"{self._host} gives an action {most} MB at most, {what} needs {needed} MB", hint
            )

    def preferred_pythons(self, supported: Sequence[str]) -> list[str]:
        """Return these Python versions, that of the platform's default kind first."""
        default = self._python_of(self._info.default)
        return list(dict.fromkeys(sorted(supported, key=lambda python: python != default)))

    def choose_kind(self, pythons: Sequence[str], named: str | None = None) -> Kind:
        """Return the first kind of the platform that runs one of these Python versions.

        Args:
            pythons: versions as "3.11", the preferred one first.
            named: the kind that the user asks for; None for any.

        Raises:
            BuildError: the platform has none; the message names those it has.
        """
        kinds = self._info.kinds
        if kinds is None:
            python = self._python_of(named or "") or pythons[0]
            return Kind(named or f"python:{pythons[0]}", python)
        known = ", ".join(sorted(kinds)) or "none for Python"
        if named is not None and named not in kinds:
            raise BuildError(
                f"{self._host} has no kind {named}; it has {known}",
                "choose one of these with --kind",
            )
        names = [named] if named else [*(f"python:{each}" for each in pythons), *kinds]
        for name in names:
            if name in kinds and (python := self._python_of(name)) in pythons:
                return Kind(name, python, kinds[name])
        wanted = " or ".join(pythons)
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

        Args:
            kind: that it will run with.
            wanted: whether the zip has to be precompiled; None to do so where that is safe.

        Raises:
            BuildError: it has to be, but the image is not known.
        """
        image = images.identify_image(kind.image)
        env = image.execution_env if image else ""
        if wanted and not env:
            raise BuildError(
                f"--precompiled: {self._host} runs {kind.name} in {kind.image or 'an image'}, "
                "whose OW_EXECUTION_ENV is not known",
                "pass it with --execution-env, or build with --portable",
            )
        if wanted is None and image and env and not image.survives_upgrades:
            self._console.note(
                f"a portable zip: an upgrade of {image.platform}'s image would break a precompiled "
                "one. --precompiled makes one, which starts in half the time"
            )
        return env if wanted or (wanted is None and image and image.survives_upgrades) else ""

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
        """Upload the zip and verify it; if it fails, the earlier action is put back.

        Args:
            archive: the zip.
            kind: to run it with.
            memory: what it needs, in MB.
            sample: as `verify_action`.
            expected: likewise.

        Raises:
            BuildError: the platform refused the zip, or it does not answer as here.
        """
        self.check_memory(memory)
        before = self._client.action(self._name, code=True)
        least = self._info.memory[0] if self._info.memory else 0
        timeout = min(TIMEOUT_MS, self._info.max_timeout or TIMEOUT_MS)
        document = describe_action(
            before, self._package, kind.name, max(memory, least), timeout, self._settings
        )
        after = upload_action(self._client, self._name, before, document, archive, self._console)
        try:
            deployment = verify_action(
                self._client, self._name, after, sample, expected, self._console
            )
        except PlatformError:
            if self._options.keep_broken:
                self._console.warn(f"--keep-broken: {self._name} stays as it is")
            else:
                put_back(self._client, self._name, before, self._package, after, self._console)
            raise
        return replace(deployment, created=before is None)

    def show(self, deployment: Deployment) -> None:
        """Print the action's address and the commands that invoke it."""
        show_deployment(deployment, self._client.host, self._console)


def connect(options: DeploymentOptions, console: Console) -> OpenWhisk:
    """Return a connection to the host; warn of what others can see."""
    host = credentials.find_host(options.apihost, options.auth, options.insecure, options.ca)
    if credentials.is_visible(options.auth):
        console.warn(
            "--auth: processes here can read the key; WHISK_AUTH, ~/.wskprops or @FILE hide it"
        )
    if host.insecure:
        console.warn("--insecure: the host's certificate is not verified")
    if host.url.startswith("http:"):
        console.note("http: the key and the pictures travel in the clear")
    return OpenWhisk(host)


def undeploy(options: DeploymentOptions, console: Console) -> None:
    """Delete the action.

    Raises:
        BuildError: there is none, or the platform refused.
    """
    name = parse_name(options.name)
    client = connect(options, console)
    with console.step(f"undeploy {name}") as details:
        if not client.delete(name):
            raise BuildError(
                f"{client.host.url} has no action {name}", "'wsk action list' shows them"
            )
        details.append(f"{name} is deleted")


def show_deployment(deployment: Deployment, host: credentials.Host, console: Console) -> None:
    """Print the action's address and the commands that invoke it."""
    console.text()
    if not deployment.url:
        name, insecure = shlex.quote(deployment.name), " -i" * host.insecure
        console.text(f"{deployment.name} is deployed; it is no web action. Invoke it with the key:")
        console.command(f"wsk{insecure} action invoke {name} -r --param-file picture.json")
        return
    url, ca = shlex.quote(deployment.url), shlex.quote(host.ca)
    curl, client = "", ""
    if host.insecure:
        curl, client = " -k", " --insecure"
    elif host.ca:
        curl, client = f" --cacert {ca}", f" --ca {ca}"
    console.text(f"{deployment.name} is deployed. Its page, for a browser:")
    console.text(f"    {deployment.url}")
    console.text("The same for programs:")
    secret = ""
    if deployment.secured:
        secret = " -H 'x-require-whisk-auth: SECRET'"
        console.text(f"The SECRET is shown by: wsk action get {shlex.quote(deployment.name)}")
    console.command(
        f"curl{curl} -H 'content-type: image/jpeg'{secret} --data-binary @cat.jpg {url}"
    )
    console.command(f"python3 -m action --url {url}{client} cat.jpg")
