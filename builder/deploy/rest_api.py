"""Call OpenWhisk's REST API: create, read, invoke and delete one action.

`apiv1swagger.json` and `docs/rest_api.md` of OpenWhisk describe it. An action is a document under
`/api/v1/namespaces/NAMESPACE/actions/NAME`, put with its code as base64. A web action answers under
`/api/v1/web/NAMESPACE/PACKAGE/NAME`. `GET /` of the host lists its kinds and limits.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import requests
import truststore
import urllib3

from builder.base.console import Advance
from builder.base.errors import BuildError, UsageError
from builder.deploy.credentials import Host

truststore.inject_into_ssl()

# To connect, and to wait for a response: a blocking activation takes up to a minute.
TIMEOUT_SECONDS = (10, 120)
# How long to wait for an activation's record: it is written after the response is sent.
RECORD_SECONDS = 10.0
# How long to wait for an activation that was not ready in a minute: its image may be pulled.
READY_SECONDS = 600.0
# Extensions of a web action's address: of an action `a.json`, the platform would call `a`.
_EXTENSIONS = (".http", ".json", ".html", ".text", ".svg")
# OpenWhisk's `EntityName`: the name of a namespace, a package or an action.
_ENTITY = r"(\w|\w[\w@ .-]{0,254}[\w@.-])"
# HTTP status -> what it means, and what to do.
_MEANINGS = {
    400: (
        "the platform refused the action's description",
        "if it names a kind, choose another with --python",
    ),
    401: (
        "{host.url} does not accept the key",
        "it is from {host.source}; 'wsk property get --auth' shows the key of an installed wsk",
    ),
    403: (
        "the key may not do this with {name}",
        "name an action of the key's own namespace, or ask the platform's operator for the right",
    ),
    404: ("{host.url} has no {name}", "check the name and the API host"),
    409: (
        "{name} was changed by somebody else in the same moment, or is no action",
        "run this again, or choose another name",
    ),
    413: (
        "the action is too large for the platform",
        "OpenWhisk takes 48 MiB of base64, a proxy may take less: compiled packages are smaller",
    ),
    429: ("the platform takes no more requests for now", "wait a minute and run this again"),
    502: ("{name} failed", "the activation's log says why"),
    503: ("{host.url} cannot answer now", "try again later, or ask its operator"),
}
_MEANINGS[504] = _MEANINGS[503]
_NO_PACKAGE = (
    "{host.url} has no package {name.package} for {name}",
    "create it first: wsk package create {name.package}; or deploy {name.action} alone",
)
_UNKNOWN = ("{host.url} failed", "try again; if it fails again, ask the platform's operator")


class PlatformError(BuildError):
    """The platform refused or failed.

    Attributes:
        status: of its HTTP response; 0 if there was none.
        activation: id of the activation that failed; empty if none did.
        at_init: whether the action did not even start.
    """

    at_init = False

    def __init__(self, what: str, hint: str = "", status: int = 0, activation: str = "") -> None:
        super().__init__(what, hint)
        self.status = status
        self.activation = activation


class Name(NamedTuple):
    """Full name of an action: `namespace` "_" is the key's own; `package` may be empty."""

    namespace: str
    package: str
    action: str

    @property
    def path(self) -> str:
        """The name below `actions/`, quoted."""
        return "/".join(quote(part, safe="") for part in (self.package, self.action) if part)

    def __str__(self) -> str:
        """Return the name as `wsk` writes it: without the key's own namespace."""
        namespace = "" if self.namespace == "_" else f"/{self.namespace}/"
        return namespace + "/".join(part for part in (self.package, self.action) if part)


def parse_name(text: str, web: bool = False) -> Name:
    """Return a name written as for `wsk`: `[/NAMESPACE/][PACKAGE/]ACTION`.

    Raises:
        UsageError: it is none, or, with `web`, none that can be called over the web.
    """
    found = re.fullmatch(f"(?:/{_ENTITY}/)?(?:{_ENTITY}/)?{_ENTITY}", text, re.ASCII)
    if found is None:
        raise UsageError(
            f"expected an action's name as [/NAMESPACE/][PACKAGE/]ACTION, found {text!r}",
            "letters, digits, and between them _ @ . - and spaces",
        )
    name = Name(found[1] or "_", found[2] or "", found[3])
    own, _, extension = name.action.rpartition(".")
    if web and name.action.endswith(_EXTENSIONS):
        raise UsageError(
            f"--name: a web action cannot be called {name.action}: its address would be that of "
            f"{own}, with .{extension} as the form of its answer",
            f"for example {own}-{extension}",
        )
    return name


class _Upload(BytesIO):
    """A request's body that reports how much of it was sent."""

    def __init__(self, content: bytes, advance: Advance) -> None:
        super().__init__(content)
        self._advance, self._total = advance, len(content)

    def __len__(self) -> int:
        return self._total

    def read(self, size: int | None = -1) -> bytes:
        chunk = super().read(size)
        self._advance(self.tell(), self._total)
        return chunk


class RestApi:
    """The REST API of one OpenWhisk. Its methods raise PlatformError if a request fails."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._session = requests.Session()
        self._session.cert = host.certificate
        if host.insecure:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def host_info(self) -> dict[str, Any]:
        """Return what the host publishes: its `runtimes` and `limits`; empty if it does not."""
        response = self._send("GET", f"{self.host.url}/", {"accept": "application/json"})
        return _json_object(response) if response.status_code == 200 else {}

    def limits(self, published: Any) -> dict[str, int]:
        """Return the key's limits, as `maxActionMemory` in MB and `maxActionTimeout` in ms.

        `published` are the host's, for what the key's leave open.
        """
        limits: dict[str, Any] = {}
        for end in ("min", "max") if isinstance(published, dict) else ():
            limits[f"{end}ActionTimeout"] = published.get(f"{end}_action_duration")
            limits[f"{end}ActionMemory"] = (published.get(f"{end}_action_memory") or 0) // 2**20
        response = self._call("GET", Name("_", "", ""), "limits")
        if response.status_code == 401:
            raise self._failure(response, "its limits")
        limits |= _json_object(response) if response.ok else {}
        return {name: limit for name, limit in limits.items() if isinstance(limit, int)}

    def action(self, name: Name, code: bool = False) -> dict[str, Any] | None:
        """Return the action's document, its parameters merged with its package's; None if none."""
        response = self._call("GET", name, f"actions/{name.path}?code={str(code).lower()}")
        return None if response.status_code == 404 else self._document(response, name)

    def package_parameters(self, name: Name) -> list[dict[str, Any]]:
        """Return the parameters that the name's package binds; raise if it does not exist."""
        if not name.package:
            return []
        response = self._call("GET", name, f"packages/{quote(name.package, safe='')}")
        parameters: list[dict[str, Any]] = self._document(response, name).get("parameters", [])
        return parameters

    def put(self, name: Name, document: Mapping[str, Any], advance: Advance) -> None:
        """Create or update the action; fields and annotations that `document` lacks stay."""
        body = _Upload(json.dumps(document).encode(), advance)
        response = self._call("PUT", name, f"actions/{name.path}?overwrite=true", body)
        if not response.ok:
            raise self._failure(response, name)  # some hosts answer with the document, some "OK"

    def delete(self, name: Name) -> bool:
        """Delete the action; return whether there was one."""
        response = self._call("DELETE", name, f"actions/{name.path}")
        if not response.ok and response.status_code != 404:
            raise self._failure(response, name)
        return response.ok

    def invoke(self, name: Name, params: Mapping[str, Any]) -> tuple[int, dict[str, Any], str]:
        """Invoke the action with the key; return status, answer, and the activation's id."""
        body = BytesIO(json.dumps(params).encode())
        response = self._call("POST", name, f"actions/{name.path}?blocking=true&result=true", body)
        activation = response.headers.get("x-openwhisk-activation-id", "")
        document = self._document(response, name, activation)
        return response.status_code, document, activation or str(document.get("activationId", ""))

    def invoke_web(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any], str]:
        """Invoke a web action as any client does, without the key; return the same."""
        response = self._send("POST", url, headers, BytesIO(body), auth=False)
        activation = response.headers.get("x-openwhisk-activation-id", "")
        return response.status_code, _json_object(response), activation

    def wait(self, name: Name, activation: str, status: Callable[[str], None]) -> dict[str, Any]:
        """Return the result of an activation that was not ready when its response was sent.

        `status` shows what is waited for. Raise PlatformError if there is no record in time.
        """
        began = time.monotonic()
        while (waited := time.monotonic() - began) < READY_SECONDS:
            status(f"not ready after {60 + waited:.0f} s; the platform may be pulling the image")
            if record := self.record(name, activation):
                result: dict[str, Any] = record["response"]["result"]
                return result
        raise PlatformError(
            f"{name} has not answered within {waited / 60:.0f} minutes",
            "with too little memory an action may die without an answer: see --memory",
            202,
            activation,
        )

    def record(self, name: Name, activation: str) -> dict[str, Any]:
        """Return the record of an activation with its `logs`; empty if there is none in time."""
        path = f"activations/{quote(activation, safe='')}"
        deadline = time.monotonic() + RECORD_SECONDS
        while not (response := self._call("GET", name, path)).ok:
            if response.status_code != 404 or time.monotonic() > deadline:
                return {}
            time.sleep(0.5)
        record: dict[str, Any] = response.json()
        if not record.get("logs"):  # some deployments keep them apart
            record["logs"] = _json_object(self._call("GET", name, f"{path}/logs")).get("logs", [])
        return record

    def web_url(self, name: Name, namespace: str) -> str:
        """Return the address of a web action; `namespace` is its true name, not "_"."""
        parts = (namespace, name.package or "default", name.action)
        path = "/".join(quote(part, safe="") for part in parts)
        return f"{self.host.url}/api/{self.host.version}/web/{path}"

    def _call(
        self, method: str, name: Name, path: str, body: BytesIO | None = None
    ) -> requests.Response:
        """Send a request to the API, with the key."""
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
            response = self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                # Without this, requests would look for a key in ~/.netrc.
                auth=(user, password) if auth else (lambda unsigned: unsigned),
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,  # the key goes to no other host
                # Here, since of a session REQUESTS_CA_BUNDLE overrides it.
                verify=self.host.ca or not self.host.insecure,
            )
        except requests.RequestException as error:
            raise _connection_error(self.host, error) from error
        if response.is_redirect and urlsplit(url).path != "/":  # there, a gateway has its own page
            parts = urlsplit(response.headers["location"])
            raise PlatformError(
                f"{self.host.url} redirects to {parts.scheme}://{parts.netloc}",
                "if that is your platform, name it: --apihost",
                response.status_code,
            )
        return response

    def _document(
        self, response: requests.Response, name: Name, activation: str = ""
    ) -> dict[str, Any]:
        """Return the response's JSON object; raise in plain words for a status of 400 or more."""
        if not response.ok:
            raise self._failure(response, name, activation)
        document = _json_object(response)
        if document or response.text.strip() == "{}":
            return document
        raise PlatformError(
            f"expected JSON from {self.host.url}, found {response.text[:60]!r}",
            "is that the API host? 'wsk property get --apihost' shows it",
            response.status_code,
        )

    def _failure(
        self, response: requests.Response, name: Name | str, activation: str = ""
    ) -> PlatformError:
        """Return an error that explains the status, with the platform's own reason."""
        status = response.status_code
        meaning = _MEANINGS.get(status, _UNKNOWN)
        if status == 404 and isinstance(name, Name) and name.package:
            meaning = _NO_PACKAGE
        what, hint = (text.format(host=self.host, name=name) for text in meaning)
        reason = _json_object(response).get("error") or ""
        text = " ".join(reason.split()) if isinstance(reason, str) else json.dumps(reason)
        what += f": {text[:300]}" if text else f" (HTTP {status})"
        return PlatformError(what, hint, status, activation)


def _json_object(response: requests.Response) -> dict[str, Any]:
    """Return the JSON object in a response; empty if there is none."""
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _connection_error(host: Host, error: requests.RequestException) -> PlatformError:
    text = str(error)
    innermost = text.rpartition(": ")[2].strip("()'\" ")[:160] or text[:160]
    if isinstance(error, requests.exceptions.SSLError):
        return PlatformError(
            f"{host.url}: its certificate cannot be trusted: {innermost}",
            "name its authority's certificate with --ca FILE, or pass --insecure, as 'wsk -i' does",
        )
    return PlatformError(
        f"{host.url} cannot be reached: {innermost}",
        "check the host (--apihost, or APIHOST of the properties), the network and the proxy",
    )
