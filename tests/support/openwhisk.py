"""An OpenWhisk on loopback: as much of its REST API as the life of one web action takes.

Written after OpenWhisk's own sources: `Controller.scala` (`GET /`), `Actions.scala` (documents, and
how an update merges them), `WebActions.scala`, `Activations.scala`, `Messages.scala` (the texts).
The actions are run for real: each has a container, a clean process that its zip is unpacked for.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from builder.artifact import actionloop
from builder.base.errors import SmokeError
from client import local_server
from tests.conftest import interpreter
from tests.support.server import listening

AUTH = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:a-password-of-64-characters-as-wsk-has-it"
NAMESPACE = "guest"
MAX_CODE = 48 * 1024 * 1024
KINDS = {
    "python:3.10": "openwhisk/action-python-v3.10:nightly",
    "python:3.11": "openwhisk/action-python-v3.11:nightly",
}


class Rejection(Exception):
    """An answer other than the one that was asked for."""

    def __init__(self, status: int, text: str, activation: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.activation = activation


@dataclass
class Action:
    """A document of the actions' store."""

    kind: str
    code: str
    annotations: dict[str, Any]
    parameters: list[dict[str, Any]]
    limits: dict[str, int]
    version: int = 1

    def document(self, name: str) -> dict[str, Any]:
        annotations = {**self.annotations, "exec": self.kind}
        package, _, own = name.rpartition("/")
        return {
            "namespace": f"{NAMESPACE}/{package}" if package else NAMESPACE,
            "name": own,
            "version": f"0.0.{self.version}",
            "publish": False,
            "exec": {"kind": self.kind, "binary": True},
            "annotations": [{"key": k, "value": v} for k, v in annotations.items()],
            "parameters": self.parameters,
            "limits": self.limits,
            "updated": int(time.time() * 1000),
        }


@dataclass
class OpenWhisk:
    """The platform: its store, and what it does by itself.

    Attributes:
        url: of its API host.
        kinds: name -> image of its Python runtimes.
        gateway: whether something before it passes `GET /` not on.
        statuses: what the next requests of a method get instead of an answer.
        requests: method and path of each request.
    """

    url: str = ""
    kinds: dict[str, str] = field(default_factory=lambda: dict(KINDS))
    gateway: bool = False
    max_memory: int = 512
    statuses: dict[str, list[int]] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    actions: dict[str, Action] = field(default_factory=dict)
    activations: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    containers: dict[str, tuple[ExitStack, actionloop.RunningAction]] = field(default_factory=dict)
    late: int = 0
    """So many times a record that is asked for is not written yet."""

    def info(self) -> dict[str, Any]:
        return {
            "description": "OpenWhisk",
            "api_paths": ["/api/v1"],
            "runtimes": {
                "nodejs": [{"kind": "nodejs:20", "image": "openwhisk/action-nodejs-v20:nightly"}],
                "python": [
                    {
                        "kind": kind,
                        "image": image,
                        "deprecated": False,
                        "default": number == 0,
                        "attached": True,
                        "requireMain": False,
                    }
                    for number, (kind, image) in enumerate(self.kinds.items())
                ],
            },
            "limits": {
                "actions_per_minute": 60,
                "min_action_memory": 128 * 2**20,
                "max_action_memory": self.max_memory * 2**20,
            },
        }

    def put(self, name: str, content: dict[str, Any], overwrite: bool) -> dict[str, Any]:
        """Fields that are given replace those of an older document, limits one by one."""
        old = self.actions.get(name)
        if old and not overwrite:
            raise Rejection(409, "resource already exists")
        package = name.rpartition("/")[0]
        if package and package not in self.packages:
            raise Rejection(404, "The requested resource does not exist.")
        execution = content.get("exec")
        if old is None and execution is None:
            raise Rejection(400, "exec undefined")
        kind = execution["kind"] if execution else old.kind if old else ""
        if kind not in {*self.kinds, "nodejs:20"}:
            known = ", ".join(self.kinds)
            raise Rejection(
                400,
                f"The request content was malformed:\nkind '{kind}' not in Set(nodejs:20, {known})",
            )
        code = execution["code"] if execution else old.code if old else ""
        if len(code) > MAX_CODE:
            raise Rejection(413, f"action code is too large: {len(code)} of {MAX_CODE} bytes")
        limits = {**(old.limits if old else {"timeout": 60000, "memory": 256, "logs": 10})}
        limits |= content.get("limits", {})
        if not 128 <= limits["memory"] <= self.max_memory:
            raise Rejection(
                400,
                "The request content was malformed:\nrequirement failed: memory "
                f"{limits['memory']} MB exceeds allowed threshold of {self.max_memory} MB",
            )
        annotations = content.get("annotations")
        self.actions[name] = Action(
            kind,
            code,
            {each["key"]: each["value"] for each in annotations}
            if annotations is not None
            else (old.annotations if old else {}),
            content.get("parameters", old.parameters if old else []),
            limits,
            old.version + 1 if old else 1,
        )
        self.stop(name)
        return self.actions[name].document(name)

    def stop(self, name: str) -> None:
        """End the action's container."""
        if name in self.containers:
            self.containers.pop(name)[0].close()

    def invoke(self, name: str, params: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """One activation, cold or warm; leaves a record. Raises Rejection if the action failed."""
        action = self.actions[name]
        given = {each["key"]: each["value"] for each in action.parameters}
        activation = uuid.uuid4().hex
        began = time.monotonic()
        record: dict[str, Any] = {"activationId": activation, "name": name, "logs": []}
        record["annotations"] = [{"key": "kind", "value": action.kind}]
        self.activations[activation] = record
        before = 0
        try:
            if name not in self.containers:
                self.containers[name] = self._start(action)
                init = int((time.monotonic() - began) * 1000)
                record["annotations"].append({"key": "initTime", "value": init})
            else:
                before = len(self.containers[name][1].log())
            answer: dict[str, Any] = self.containers[name][1].run({**given, **params})
            lines = self.containers[name][1].log()[before:].splitlines()
        except SmokeError as error:
            self.stop(name)
            lines = str(error).splitlines()
            text = "The action failed to initialize or exited unexpectedly while running."
            answer = {"error": text}
            record["response"] = {"status": "action developer error", "result": answer}
            record["logs"] = [f"2026-01-01T00:00:00.000Z stderr: {line}" for line in lines]
            raise Rejection(502, text, activation) from None
        finally:
            record["duration"] = int((time.monotonic() - began) * 1000)
        record["logs"] = [f"2026-01-01T00:00:00.000Z stdout: {line}" for line in lines]
        failed = "error" in answer
        record["response"] = {
            "status": "application error" if failed else "success",
            "success": not failed,
            "result": answer,
        }
        return answer, activation

    def _start(self, action: Action) -> tuple[ExitStack, actionloop.RunningAction]:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            archive = folder / "action.zip"
            archive.write_bytes(base64.b64decode(action.code))
            python = interpreter(re.findall(r"v(\d+\.\d+)", self.kinds[action.kind])[0])
            running = stack.enter_context(actionloop.start_action(archive, python))
            return stack.pop_all(), running
        raise AssertionError  # a with block of an ExitStack may swallow, says mypy


@contextmanager
def openwhisk(**settings: Any) -> Iterator[OpenWhisk]:
    """A platform on a free port of 127.0.0.1, until the block ends."""
    platform = OpenWhisk(**settings)
    one_at_a_time = Lock()

    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            parts = urlsplit(self.path)
            platform.requests.append((self.command, parts.path))
            try:
                waiting = platform.statuses.get(self.command)
                if waiting and (status := waiting.pop(0)):
                    raise Rejection(status, "an error of the platform's own")
                with one_at_a_time:
                    self.route(
                        parts.path, {k: v[-1] for k, v in parse_qs(parts.query).items()}, body
                    )
            except Rejection as rejection:
                answer = {"error": str(rejection), "code": "0123456789abcdef"}
                activation = rejection.activation
                self.reply(rejection.status, answer, activation)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.handle_any
            raise AttributeError(name)

        def route(self, path: str, query: dict[str, str], body: bytes) -> None:
            if path == "/":
                if platform.gateway:
                    raise Rejection(404, "no such route")
                return self.reply(200, platform.info())
            if web := re.fullmatch(r"/api/v1/web/([^/]+)/([^/]+)/([^/]+)(/.*)?", path):
                return self.web(body, *(unquote(part or "") for part in web.groups()))
            match = re.fullmatch(r"/api/v1/namespaces/([^/]+)/(actions|activations)/(.+)", path)
            if not match:
                raise Rejection(404, "The requested resource does not exist.")
            self.authorize(unquote(match[1]))
            name = unquote(match[3])
            if match[2] == "activations":
                return self.record(name)
            if self.command == "PUT":
                document = platform.put(name, json.loads(body), query.get("overwrite") == "true")
                return self.reply(200, document)
            if name not in platform.actions:
                raise Rejection(404, "The requested resource does not exist.")
            if self.command == "GET":
                code = {} if query.get("code") == "false" else {"code": platform.actions[name].code}
                document = platform.actions[name].document(name)
                document["exec"] |= code
                return self.reply(200, document)
            if self.command == "DELETE":
                document = platform.actions.pop(name).document(name)
                platform.stop(name)
                return self.reply(200, document)
            answer, activation = platform.invoke(name, json.loads(body or b"{}"))
            return self.reply(502 if "error" in answer else 200, answer, activation)

        def authorize(self, namespace: str) -> None:
            sent = self.headers.get("authorization", "")
            if sent != "Basic " + base64.b64encode(AUTH.encode()).decode():
                raise Rejection(401, "The supplied authentication is invalid")
            if namespace not in ("_", NAMESPACE):
                raise Rejection(
                    403, "The supplied authentication is not authorized to access this resource."
                )

        def record(self, name: str) -> None:
            activation, _, logs = name.partition("/")
            record = platform.activations.get(activation)
            if record is None or platform.late > 0:
                platform.late -= 1
                raise Rejection(404, "The requested resource does not exist.")
            self.reply(200, {"logs": record["logs"]} if logs else record)

        def web(self, body: bytes, namespace: str, package: str, own: str, path: str) -> None:
            own = re.sub(r"\.(http|json)$", "", own)
            name = own if package == "default" else f"{package}/{own}"
            action = platform.actions.get(name) if namespace == NAMESPACE else None
            if action is None or not action.annotations.get("web-export"):
                raise Rejection(404, "The requested resource does not exist.")
            if self.command == "OPTIONS":
                return self.send(200, {}, b"")
            secret = action.annotations.get("require-whisk-auth")
            if secret not in (None, False, self.headers.get("x-require-whisk-auth")):
                raise Rejection(
                    401, "Authentication is possible but has failed or not yet been provided."
                )
            headers = {key.lower(): value for key, value in self.headers.items()}
            query = urlsplit(self.path).query
            target = path + ("?" + query if query else "")
            request = local_server.IncomingRequest(self.command, target, headers, body)
            try:
                params = local_server.web_action_params(
                    request, bool(action.annotations.get("raw-http"))
                )
            except local_server.RequestRefused as refusal:
                raise Rejection(refusal.status, str(refusal)) from None
            try:
                answer, activation = platform.invoke(name, params)
            except Rejection as rejection:  # for those who have no key
                raise Rejection(
                    400, "There was an error processing your request.", rejection.activation
                ) from None
            if "statusCode" not in answer:
                raise Rejection(400, "Response is not valid 'message/http'.", activation)
            status, sent, content = local_server.http_response(answer)
            self.send(status, {**sent, "x-openwhisk-activation-id": activation}, content)

        def reply(self, status: int, document: Any, activation: str = "") -> None:
            headers = {"content-type": "application/json"}
            if activation:
                headers["x-openwhisk-activation-id"] = activation
            self.send(status, headers, json.dumps(document).encode())

        def send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            cors = {
                "access-control-allow-origin": "*",
                "access-control-allow-methods": "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH",
            }
            for key, value in {**cors, **headers}.items():
                self.send_header(key, value)
            if status != 204:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.command != "HEAD" else b"")

        def log_message(self, *_: object) -> None:
            pass

    with listening(Connection) as port:
        platform.url = f"http://127.0.0.1:{port}"
        try:
            yield platform
        finally:
            for name in list(platform.containers):
                platform.stop(name)
