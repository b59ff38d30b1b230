"""OpenWhisk's REST API, as far as the life of one action needs it.

The API is described by OpenWhisk's `apiv1swagger.json` and `docs/rest_api.md`: actions are
documents under `/api/v1/namespaces/NAMESPACE/actions/NAME`, put with their code as base64; web
actions answer under `/api/v1/web/NAMESPACE/PACKAGE/NAME`; `GET /` of the host says which kinds and
limits it has.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import truststore
import urllib3

from builder.base.console import Advance
from builder.base.errors import BuildError, UsageError
from builder.deploy.credentials import SET_UP, Host

truststore.inject_into_ssl()

TIMEOUT_SECONDS = (10, 120)
"""To connect, and to wait for an answer: a blocking activation takes up to a minute."""
RECORD_SECONDS = 10.0
"""How long to wait for an activation's record: it is written after the answer is sent."""

_ENTITY = r"\w|\w[\w@ .-]{0,254}[\w@.-]"
"""What OpenWhisk takes for the name of a package or an action (its `EntityName`)."""


class PlatformError(BuildError):
    """The platform refused or failed.

    Attributes:
        status: of its HTTP answer; 0 if there was none.
        activation: id of the activation that failed; empty if it is not about one.
    """

    def __init__(self, what: str, hint: str = "", status: int = 0, activation: str = "") -> None:
        super().__init__(what, hint)
        self.status = status
        self.activation = activation


@dataclass(frozen=True)
class Name:
    """Full name of an action: `namespace` "_" is the key's own; `package` may be empty."""

    namespace: str
    package: str
    action: str

    @property
    def path(self) -> str:
        """The name below `actions/`, quoted."""
        return "/".join(quote(part, safe="") for part in (self.package, self.action) if part)

    def __str__(self) -> str:
        """As `wsk` writes it: without the namespace, if that is the key's own."""
        namespace = "" if self.namespace == "_" else f"/{self.namespace}/"
        return namespace + "/".join(part for part in (self.package, self.action) if part)


def parse_name(text: str, namespace: str = "_") -> Name:
    """A name as `wsk` takes it: `[/NAMESPACE/][PACKAGE/]ACTION`.

    Raises:
        UsageError: it is none.
    """
    parts = text.split("/")
    if text.startswith("/") and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    if not 1 <= len(parts) <= 2 or not all(re.fullmatch(_ENTITY, p, re.ASCII) for p in parts):
        raise UsageError(
            f"--deploy: expected a name as [/NAMESPACE/][PACKAGE/]ACTION, found {text!r}",
            "letters, digits, and between them _ @ . - and spaces",
        )
    return Name(namespace, parts[0] if len(parts) == 2 else "", parts[-1])


@dataclass(frozen=True)
class Info:
    """What a host says of itself.

    Attributes:
        kinds: name -> image of each Python kind that is not deprecated; None if it does not say.
        max_memory: the most memory an action may have, in MB; None if it does not say.
    """

    kinds: dict[str, str] | None
    max_memory: int | None


class _Upload(BytesIO):
    """A body that reports how much of it was sent."""

    def __init__(self, content: bytes, advance: Advance) -> None:
        super().__init__(content)
        self._advance, self._total = advance, len(content)

    def __len__(self) -> int:
        return self._total

    def read(self, size: int | None = -1) -> bytes:
        chunk = super().read(size)
        self._advance(self.tell(), self._total)
        return chunk


class OpenWhisk:
    """A connection to one OpenWhisk."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._session = requests.Session()
        self._session.verify = not host.insecure
        self._session.cert = host.certificate
        if host.insecure:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def info(self) -> Info:
        """The host's kinds and limits.

        Raises:
            PlatformError: no OpenWhisk answers there.
        """
        answer = self._send("GET", f"{self.host.url}/", {"accept": "application/json"})
        try:
            said = answer.json() if answer.ok else {}
        except ValueError:
            said = {}
        families = said.get("runtimes") if isinstance(said, dict) else None
        if not isinstance(families, dict):
            return Info(None, None)  # a gateway that passes nothing but the API on
        kinds = {
            str(each["kind"]): str(each.get("image", ""))
            for each in families.get("python", [])
            if isinstance(each, dict) and "kind" in each and not each.get("deprecated")
        }
        limits = said.get("limits")
        most = limits.get("max_action_memory") if isinstance(limits, dict) else None
        return Info(kinds, most // 2**20 if isinstance(most, int) else None)

    def action(self, name: Name) -> dict[str, Any] | None:
        """The action's document without its code; None if there is no such action.

        Raises:
            PlatformError: the key is not taken, or the platform failed.
        """
        answer = self._api("GET", name, f"actions/{name.path}?code=false")
        return None if answer.status_code == 404 else self._checked(answer, name)

    def put(self, name: Name, document: Mapping[str, Any], advance: Advance) -> dict[str, Any]:
        """Create or update the action; fields that `document` lacks stay as they are.

        Raises:
            PlatformError: it was refused; says by what.
        """
        body = json.dumps(document).encode()
        answer = self._api(
            "PUT", name, f"actions/{name.path}?overwrite=true", _Upload(body, advance)
        )
        if answer.status_code == 413:
            code = len(document["exec"]["code"])
            raise PlatformError(
                f"the platform takes no such large action: {code / 2**20:.1f} MiB of base64 were "
                f"sent{_said(answer)}",
                "OpenWhisk's own limit is 48 MiB; a proxy before it may have a smaller one: "
                "build a smaller zip (compiled packages, --optimize size) or ask its operator",
                413,
            )
        return self._checked(answer, name)

    def delete(self, name: Name) -> dict[str, Any] | None:
        """Delete the action; returns what it was, None if there was none.

        Raises:
            PlatformError: it was refused.
        """
        answer = self._api("DELETE", name, f"actions/{name.path}")
        return None if answer.status_code == 404 else self._checked(answer, name)

    def invoke(self, name: Name, params: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """One blocking activation, with the key.

        Returns:
            What the action answered, and the activation's id.

        Raises:
            PlatformError: it failed.
        """
        body = BytesIO(json.dumps(params).encode())
        answer = self._api("POST", name, f"actions/{name.path}?blocking=true&result=true", body)
        activation = answer.headers.get("x-openwhisk-activation-id", "")
        if answer.status_code == 202:
            activation = activation or str(answer.json().get("activationId", ""))
            raise PlatformError(
                "the action has not answered within a minute",
                "its log may say why; a longer --timeout does not help: it should take a second",
                202,
                activation,
            )
        return self._checked(answer, name, activation), activation

    def invoke_web(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any], str]:
        """One activation over the web, as anybody may send it.

        Returns:
            The status, the answer (empty if it is no JSON), and the activation's id.

        Raises:
            PlatformError: nothing answers.
        """
        answer = self._send("POST", url, headers, BytesIO(body), auth=False)
        try:
            said = answer.json()
        except ValueError:
            said = {}
        activation = answer.headers.get("x-openwhisk-activation-id", "")
        return answer.status_code, said if isinstance(said, dict) else {}, activation

    def record(self, name: Name, activation: str) -> dict[str, Any]:
        """The record of an activation, with its `logs`; empty if there is none in time."""
        path = f"activations/{quote(activation, safe='')}"
        deadline = time.monotonic() + RECORD_SECONDS
        while True:
            answer = self._api("GET", name, path)
            if answer.ok:
                break
            if answer.status_code != 404 or time.monotonic() > deadline:
                return {}
            time.sleep(0.5)
        record: dict[str, Any] = answer.json()
        if not record.get("logs"):  # kept apart by deployments with a log store of their own
            answer = self._api("GET", name, f"{path}/logs")
            record["logs"] = answer.json().get("logs", []) if answer.ok else []
        return record

    def web_url(self, name: Name, namespace: str) -> str:
        """Where a web action answers; `namespace` is the real one, not "_"."""
        parts = (namespace, name.package or "default", name.action)
        path = "/".join(quote(part, safe="") for part in parts)
        return f"{self.host.url}/api/{self.host.version}/web/{path}"

    def _api(
        self, method: str, name: Name, path: str, body: BytesIO | None = None
    ) -> requests.Response:
        namespace = quote(name.namespace, safe="")
        url = f"{self.host.url}/api/{self.host.version}/namespaces/{namespace}/{path}"
        headers = {"content-type": "application/json"} if body else {}
        return self._send(method, url, headers, body)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: BytesIO | None = None,
        auth: bool = True,
    ) -> requests.Response:
        user, _, password = self.host.auth.partition(":")
        try:
            answer = self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                # Without a key of ours requests would look for one in ~/.netrc.
                auth=(user, password) if auth else (lambda unsigned: unsigned),
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,  # the key goes to the host that was named, to no other
            )
        except requests.RequestException as error:
            raise _unreachable(self.host, error) from error
        if answer.is_redirect:
            parts = urlsplit(answer.headers["location"])
            raise PlatformError(
                f"{self.host.url} sends its callers on to {parts.scheme}://{parts.netloc}",
                "if that is your platform, name it: --apihost",
                answer.status_code,
            )
        return answer

    def _checked(
        self, answer: requests.Response, name: Name, activation: str = ""
    ) -> dict[str, Any]:
        """The answer's JSON object; raises what a status of 400 or more means in words."""
        if answer.ok:
            try:
                document = answer.json()
            except ValueError:
                document = None
            if isinstance(document, dict):
                return document
            raise PlatformError(
                f"expected JSON from {self.host.url}, found {answer.text[:60]!r}",
                "is that the API host? 'wsk property get --apihost' shows it",
                answer.status_code,
            )
        explain = _MEANINGS.get(answer.status_code, _unknown)
        what, hint = explain(self.host, name)
        raise PlatformError(what + _said(answer), hint, answer.status_code, activation)


def _said(answer: requests.Response) -> str:
    """What the platform itself said, to be put behind our words."""
    try:
        document = answer.json()
        text = document.get("error") if isinstance(document, dict) else ""
    except ValueError:
        text = ""
    text = text if isinstance(text, str) else json.dumps(text)
    text = printable(text or "")
    return f": {text[:300]}" if text else f" (HTTP {answer.status_code})"


def printable(text: str) -> str:
    """What another machine sent, without what would control the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _unauthorized(host: Host, name: Name) -> tuple[str, str]:
    return (
        f"{host.url} does not accept the key",
        f"it is from {host.source}; 'wsk property get --auth' shows the one of an installed wsk",
    )


def _forbidden(host: Host, name: Name) -> tuple[str, str]:
    return (
        f"the key may not do this with {name}",
        "name an action of the key's own namespace, or ask the platform's operator for the right",
    )


def _not_found(host: Host, name: Name) -> tuple[str, str]:
    if name.package:
        return (
            f"{host.url} has no package {name.package} for {name}",
            f"create it first: wsk package create {name.package}; or deploy {name.action} alone",
        )
    return f"{host.url} has no {name}", "check the name and the API host"


def _malformed(host: Host, name: Name) -> tuple[str, str]:
    return (
        "the platform refused the action's description",
        "where it names a kind or a limit, choose another: --python, --memory",
    )


def _conflict(host: Host, name: Name) -> tuple[str, str]:
    return (
        f"{name} was changed by somebody else in the same moment, or is no action",
        "run this again, or choose another name",
    )


def _too_many(host: Host, name: Name) -> tuple[str, str]:
    return "the platform takes no more requests for now", "wait a minute and run this again"


def _bad_gateway(host: Host, name: Name) -> tuple[str, str]:
    return f"{name} failed", "the activation's log says why"


def _unavailable(host: Host, name: Name) -> tuple[str, str]:
    return f"{host.url} is not able to answer now", "try again later, or ask its operator"


def _unknown(host: Host, name: Name) -> tuple[str, str]:
    return f"{host.url} failed", "try again; if it stays so, ask the platform's operator"


_MEANINGS: dict[int, Callable[[Host, Name], tuple[str, str]]] = {
    400: _malformed,
    401: _unauthorized,
    403: _forbidden,
    404: _not_found,
    409: _conflict,
    429: _too_many,
    502: _bad_gateway,
    503: _unavailable,
    504: _unavailable,
}
"""HTTP status -> what it means here, and what to do."""


def _unreachable(host: Host, error: requests.RequestException) -> PlatformError:
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        return PlatformError(
            f"{host.url}: its certificate cannot be trusted: {_last(text)}",
            "have the certificate mended, or pass --insecure, as 'wsk -i' does",
        )
    if isinstance(error, requests.exceptions.Timeout):
        return PlatformError(
            f"{host.url} does not answer in time", "check the host and the network"
        )
    return PlatformError(
        f"{host.url} cannot be reached: {_last(text)}",
        f"check the host (--apihost; {SET_UP}), the network and the proxy settings",
    )


def _last(text: str) -> str:
    """The innermost reason of a nested error text."""
    return text.rpartition(": ")[2].strip("()'\" ")[:160] or text[:160]
