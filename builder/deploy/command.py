"""`--deploy` and `--undeploy`: what was asked for, checked before anything is built.

The host is asked for its kinds first, so that the zip is built for one that it has; a wrong key is
said before minutes of work, not after them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.base.console import Console
from builder.base.errors import BuildError, UsageError
from builder.deploy import action, credentials, digitalocean
from builder.deploy.action import Deployment, Kind, Web
from builder.deploy.openwhisk import Info, Name, OpenWhisk, parse_name

DIGITALOCEAN = "digitalocean"
PLATFORMS = ("openwhisk", DIGITALOCEAN)


@dataclass(frozen=True)
class Asked:
    """The options of the command line that concern a deployment; see `build_zip.py --help`."""

    name: str
    platform: str = PLATFORMS[0]
    apihost: str = ""
    auth: str = ""
    insecure: bool = False
    web: str | None = None
    secret: str | None = None


class Target:
    """A platform that is to get the zip."""

    def __init__(self, asked: Asked, console: Console) -> None:
        """Find the platform and ask what it has.

        Raises:
            BuildError: the name, the host or the key are not usable.
            PlatformError: the host does not answer, or does not take the key.
        """
        self._asked = asked
        self._console = console
        self._platform: OpenWhisk | None = None
        if asked.platform == DIGITALOCEAN:
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", asked.name):
                raise UsageError(f"--deploy: expected a function's name, found {asked.name!r}")
            self._name = Name("_", "", asked.name)
            self._info, self._host = Info(None, None), "DigitalOcean"
            return
        host = credentials.host(asked.apihost, asked.auth, asked.insecure)
        self._name = parse_name(asked.name, host.namespace)
        self._platform = OpenWhisk(host)
        self._host = host.url
        with console.step(f"OpenWhisk at {host.url}") as details:
            if asked.insecure:
                console.warn("--insecure: the host's certificate is not verified")
            if host.url.startswith("http:"):
                console.note("http: the key and the pictures travel in the clear")
            self._info = self._platform.info()
            exists = self._platform.action(self._name)  # which the key has to allow
            kinds = self._info.kinds
            details.append(
                "its Python kinds: " + ", ".join(sorted(kinds) or ["none"])
                if kinds is not None
                else "it does not say which kinds it has: going on with Python's own name"
            )
            details.append(
                f"{self._name} " + ("is there and will be updated" if exists else "is new")
            )

    def kind(self, pythons: Sequence[str], named: str | None = None) -> Kind:
        """The platform's kind for one of these Python versions; `named` if it has to be that one.

        Raises:
            BuildError: the platform has none.
        """
        kinds = self._info.kinds
        if named is None:
            return action.fitting(self._info, pythons, self._host)
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
        expected: dict[str, Any] | None,
    ) -> Deployment:
        """Deploy the zip and invoke it there; see `action.deploy` and `action.invoke`."""
        most = self._info.max_memory
        if most is not None and memory > most:
            raise BuildError(
                f"{self._host} gives an action {most} MB at most, this zip needs {memory} MB",
                "a smaller zip needs less: compiled packages instead of --runtime wheels",
            )
        name = self._name
        if self._platform is None:
            with self._console.step(f"deploy {name} by doctl"):
                url = digitalocean.deploy(archive, name.action, kind.name, memory)
            platform = OpenWhisk(credentials.Host(credentials.address(_origin(url)), ":"))
            with self._console.step(f"invoke {name}") as details:
                results = action.answer_at(platform, name, url, sample)
                agrees = None if expected is None else action.agree(results, expected["results"])
                details.append(action.comparison(agrees))
            return Deployment(
                str(name), "", kind.name, memory, url, False, "", results, None, agrees
            )
        web = Web(self._asked.web, self._asked.secret)
        document, created = action.deploy(
            self._platform, name, kind, archive, memory, web, self._console
        )
        return action.invoke(
            self._platform, name, document, created, sample, expected, self._console
        )


def undeploy(asked: Asked, console: Console) -> None:
    """Delete the action.

    Raises:
        BuildError: there is none, or the platform refused.
    """
    if asked.platform == DIGITALOCEAN:
        with console.step(f"undeploy {asked.name} by doctl"):
            digitalocean.undeploy(asked.name)
        return
    host = credentials.host(asked.apihost, asked.auth, asked.insecure)
    name = parse_name(asked.name, host.namespace)
    with console.step(f"undeploy {name}") as details:
        gone = OpenWhisk(host).delete(name)
        if gone is None:
            raise BuildError(f"{host.url} has no action {name}", "'wsk action list' shows them")
        details.append(f"{gone.get('namespace', name.namespace)}/{name.action} is gone")


def show(deployment: Deployment, console: Console) -> None:
    """Where it is, and what to type."""
    console.text()
    if not deployment.url:
        name = shlex.quote(deployment.name)
        console.text(f"{deployment.name} is deployed; it is no web action. Ask it with the key:")
        console.text(f"    wsk action invoke {name} -r --param-file picture.json")
        return
    console.text(f"{deployment.name} is deployed. Its page, for a browser:")
    console.text(f"    {deployment.url}")
    console.text("The same for programs:")
    secret = " -H 'x-require-whisk-auth: SECRET'" if deployment.secured else ""
    console.text(
        f"    curl -H 'content-type: image/jpeg'{secret} --data-binary @cat.jpg "
        f"{shlex.quote(deployment.url)}"
    )
    console.text(f"    python -m action --url {shlex.quote(deployment.url)} cat.jpg")


def as_json(deployment: Deployment | None) -> Mapping[str, Any] | None:
    """The deployment for the report; the secret is not in it."""
    return None if deployment is None else asdict(deployment)


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
