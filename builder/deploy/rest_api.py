"""Call OpenWhisk's REST API: create, read, invoke and delete one action.

`apiv1swagger.json` and `docs/rest_api.md` of OpenWhisk describe it. An action is a document under
`/api/v1/namespaces/NAMESPACE/actions/NAME`, put with its code as base64. A web action answers under
`/api/v1/web/NAMESPACE/PACKAGE/NAME`. `GET /` of the host lists its kinds and limits.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import quote

import requests
import truststore
import urllib3

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
    401: (
        "{host.url} does not accept the key",
        "it is from {host.source}; 'wsk property get --auth' shows the key of an installed wsk",
    ),
    403: (
        "the key may not do this with {name}",
        "name an action of the key's own namespace, or ask the platform's operator for the right",
    ),
    404: (
        "{host.url} has no {name}",
        "check the name and the API host; 'wsk package create NAME' makes a package",
    ),
    413: (
        "the action is too large for the platform",
        "OpenWhisk takes 48 MiB of base64, a proxy may take less: compiled packages are smaller",
    ),
    429: ("the platform takes no more requests for now", "wait a minute and run this again"),
}
_UNKNOWN = (
    "{host.url} failed for {name}",
    "if that does not say why: try again later, or ask the platform's operator",
)


class PlatformError(BuildError):
    """The platform refused or failed.

    Attributes:
        at_init: whether the action did not even start.
    """

    at_init = False


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


def parse_name(text: str) -> Name:
    """Return a name written as for `wsk`: `[/NAMESPACE/][PACKAGE/]ACTION`.

    Raises:
        UsageError: it is none, or none that can be called over the web.
    """
    found = re.fullmatch(f"(?:/{_ENTITY}/)?(?:{_ENTITY}/)?{_ENTITY}", text, re.ASCII)
    if found is None:
        raise UsageError(
            f"expected an action's name as [/NAMESPACE/][PACKAGE/]ACTION, found {text!r}",
            "letters, digits, and between them _ @ . - and spaces",
        )
    if text.endswith(_EXTENSIONS):
        raise UsageError(
            f"a web action cannot be called {text}: in its address, the end of the name would "
            "stand for the form of its answer",
            "choose another name",
        )
    return Name(found[1] or "_", found[2] or "", found[3])


class Answer(NamedTuple):
    """HTTP status and JSON object of an invocation, and its activation's id; empty if unknown."""

    status: int
    document: dict[str, Any]
    activation: str


class RestApi:
    """The REST API of one OpenWhisk. Its methods raise PlatformError if a request fails."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._session = requests.Session()
        if host.insecure:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def host_info(self) -> dict[str, Any]:
        """Return what the host publishes: its `runtimes` and `limits`; empty if it does not."""
        response = self._send("GET", f"{self.host.url}/", headers={"accept": "application/json"})
        return _json_object(response) if response.status_code == 200 else {}

    def limits(self, published: Any) -> dict[str, tuple[int, int]]:
        """Return the least and the most "memory" in MB and "timeout" in ms that the key may give.

        `published` are the host's limits, for what the key's leave open.
        """
        response = self._call("GET", Name("_", "", ""), "limits")
        of_key = _json_object(response) if response.ok else {}
        of_host = published if isinstance(published, dict) else {}
        limits = {}
        for name, title, unit in (("memory", "memory", 2**20), ("timeout", "duration", 1)):
            least, most = (
                of_key.get(f"{end}Action{name.title()}")
                or (of_host.get(f"{end}_action_{title}") or 0) // unit
                for end in ("min", "max")
            )
            limits[name] = (least, most or sys.maxsize)
        return limits

    def action(self, name: Name, code: bool = False) -> dict[str, Any] | None:
        """Return the action's document, its parameters merged with its package's; None if none."""
        response = self._call("GET", name, f"actions/{name.path}?code={str(code).lower()}")
        if response.status_code == 404:
            return None
        if document := _json_object(self._check(response, name)):
            return document
        raise PlatformError(
            f"expected JSON from {self.host.url}, found {response.text[:60]!r}",
            "is that the API host? 'wsk property get --apihost' shows it",
        )

    def package_parameters(self, name: Name) -> list[dict[str, Any]]:
        """Return the parameters that the name's package binds; raise if it does not exist."""
        if not name.package:
            return []
        response = self._call("GET", name, f"packages/{quote(name.package, safe='')}")
        package = _json_object(self._check(response, f"package {name.package}"))
        parameters: list[dict[str, Any]] = package.get("parameters", [])
        return parameters

    def put(self, name: Name, document: Mapping[str, Any]) -> None:
        """Create or update the action; fields and annotations that `document` lacks stay."""
        response = self._call("PUT", name, f"actions/{name.path}?overwrite=true", document)
        self._check(response, name)  # some hosts answer with the document, some "OK"

    def delete(self, name: Name) -> bool:
        """Delete the action; return whether there was one."""
        response = self._call("DELETE", name, f"actions/{name.path}")
        if response.status_code == 404:
            return False
        self._check(response, name)
        return True

    def invoke(self, name: Name, params: Mapping[str, Any]) -> Answer:
        """Invoke the action with the key."""
        path = f"actions/{name.path}?blocking=true&result=true"
        return _read_answer(self._call("POST", name, path, params))

    def invoke_web(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Invoke a web action as any client does, without the key."""
        return _read_answer(self._send("POST", url, body, headers, auth=False))

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
            f"{name} has not answered within {waited / 60:.0f} minutes (activation {activation})",
            "with too little memory an action may die without an answer: see --memory",
        )

    def record(self, name: Name, activation: str) -> dict[str, Any]:
        """Return the record of an activation with its `logs`; empty if there is none in time."""
        path = f"activations/{quote(activation, safe='')}"
        deadline = time.monotonic() + RECORD_SECONDS
        while (response := self._call("GET", name, path)).status_code != 200:
            if time.monotonic() > deadline:
                return {}
            time.sleep(0.5)
        logs = self._call("GET", name, f"{path}/logs")  # some records are without them
        return {**response.json(), **_json_object(logs)}

    def web_url(self, name: Name, namespace: str) -> str:
        """Return the address of a web action; `namespace` is its true name, not "_"."""
        parts = (namespace, name.package or "default", name.action)
        path = "/".join(quote(part, safe="") for part in parts)
        return f"{self.host.url}/api/{self.host.version}/web/{path}"

    def _call(
        self, method: str, name: Name, path: str, document: Mapping[str, Any] | None = None
    ) -> requests.Response:
        """Send a request to the API, with the key."""
        namespace = quote(name.namespace, safe="")
        url = f"{self.host.url}/api/{self.host.version}/namespaces/{namespace}/{path}"
        if document is None:
            return self._send(method, url)
        body = json.dumps(document).encode()
        return self._send(method, url, body, {"content-type": "application/json"})

    def _send(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: bool = True,
    ) -> requests.Response:
        user, _, password = self.host.auth.partition(":")
        try:
            return self._session.request(
                method,
                url,
                headers=headers,
                # A file is sent in blocks; bytes as a whole would have the time to connect only.
                data=None if body is None else BytesIO(body),
                # Without this, requests would look for a key in ~/.netrc.
                auth=(user, password) if auth else (lambda unsigned: unsigned),
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,  # the key goes to no other host
                # Here, since of a session REQUESTS_CA_BUNDLE overrides it.
                verify=self.host.ca or not self.host.insecure,
            )
        except requests.RequestException as error:
            reason = str(error).rpartition(": ")[2].strip("()'\" ")[:160]
            raise PlatformError(
                f"{self.host.url} cannot be reached: {reason or error}",
                "check the host (--apihost, or APIHOST of the properties), the network and the "
                "proxy; name an unknown authority's certificate with --ca FILE, or pass --insecure",
            ) from error

    def _check(self, response: requests.Response, name: Name | str) -> requests.Response:
        """Return the response; raise if its status is 300 or more, with the platform's reason."""
        status = response.status_code
        if status < 300:
            return response
        meaning = _MEANINGS.get(status, _UNKNOWN)
        what, hint = (text.format(host=self.host, name=name) for text in meaning)
        location = response.headers.get("location", "no reason given")
        reason = " ".join(str(_json_object(response).get("error") or location).split())
        raise PlatformError(f"{what}: {reason[:300]} (HTTP {status})", hint)


def _read_answer(response: requests.Response) -> Answer:
    answer = _json_object(response)
    activation = response.headers.get("x-openwhisk-activation-id") or answer.get("activationId", "")
    return Answer(response.status_code, answer, activation)


def _json_object(response: requests.Response) -> dict[str, Any]:
    """Return the JSON object in a response; empty if there is none."""
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
