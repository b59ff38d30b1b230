"""An OpenWhisk on loopback: as much of its REST API as deployments and clients meet.

`tests/builder/deploy/test_contract.py` holds it against answers of a real one. The actions are run
for real: each has a container, a clean process that its zip is unpacked for.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import tempfile
import time
import uuid
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from action.web import MAX_PAYLOAD
from builder.artifact import actionloop
from builder.base import cpython
from builder.base.errors import SmokeError
from client import local_server
from tests.support.server import listening

AUTH = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:a-password-of-64-characters-as-wsk-has-it"
NAMESPACE = "guest"
MAX_CODE = 48 * 2**20
KINDS = {
    "python:3.10": "openwhisk/action-python-v3.10:nightly",
    "python:3.11": "openwhisk/action-python-v3.11:nightly",
}
NOT_THERE = "The requested resource does not exist."
MALFORMED = "The request content was malformed:\n"
_ENTITY = re.compile(r"\w|\w[\w@ .-]{0,254}[\w@.-]", re.ASCII)
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "Authorization, Origin, X-Requested-With, Content-Type, "
    "Accept, User-Agent",
    "access-control-allow-methods": "GET, DELETE, POST, PUT, HEAD",
}


# An answer other than the one that was asked for; some come before CORS headers are set.
Rejection = partial(local_server.RequestRefused, cors=True)


@dataclass
class Action:
    """A document of the actions' store."""

    exec: dict[str, Any]
    annotations: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    version: int = 1

    def document(self, name: str) -> dict[str, Any]:
        """Return the action as PUT answers it."""
        package, _, own = name.rpartition("/")
        return {
            "annotations": pairs({**self.annotations, "exec": self.exec["kind"]}),
            "exec": self.exec,
            "limits": self.limits,
            "name": own,
            "namespace": f"{NAMESPACE}/{package}" if package else NAMESPACE,
            "parameters": pairs(self.parameters),
            "publish": False,
            "updated": int(time.time() * 1000),
            "version": f"0.0.{self.version}",
        }


def pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def values_of(listed: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in listed}


@dataclass
class Activation:
    """An activation; its record is written when it is done."""

    id: str
    done: Event
    result: Any = None
    status: str = "success"
    record: dict[str, Any] = field(default_factory=dict)


@dataclass
class OpenWhisk:
    """The platform: its store, and what it does by itself.

    Attributes:
        url: of its API host.
        kinds: name -> image of its Python runtimes.
        default: name of the default kind; empty for the last.
        environments: name -> OW_EXECUTION_ENV; by default the image without its tag.
        root: status of `GET /`; 404 behind a gateway, 302 where it redirects.
        payload: whether PUT and DELETE answer with the document.
        min_memory: of an action, in MB; so max_memory, and max_timeout in milliseconds.
        per_minute: activations of a namespace in a calendar minute.
        wait_seconds: how long a response is waited for.
        pull_seconds: how much longer a cold start takes while the image is pulled.
        statuses: what the next requests of a method get instead of an answer.
        requests: method and path of each request.
        late: so many times a record that is asked for is not written yet.
    """

    url: str = ""
    kinds: dict[str, str] = field(default_factory=lambda: dict(KINDS))
    environments: dict[str, str] = field(default_factory=dict)
    default: str = ""
    root: int = 200
    payload: bool = True
    min_memory: int = 128
    max_memory: int = 512
    max_timeout: int = 300_000
    per_minute: int = 60
    wait_seconds: float = 60.0
    pull_seconds: float = 0.0
    clock: Callable[[], float] = time.time
    statuses: dict[str, list[int]] = field(default_factory=dict)
    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)
    activations: dict[str, Activation] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    containers: dict[str, tuple[ExitStack, actionloop.RunningAction]] = field(default_factory=dict)
    late: int = 0
    minutes: Counter[int] = field(default_factory=Counter)
    locks: defaultdict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))

    def __post_init__(self) -> None:
        self.default = self.default or next(reversed(self.kinds), "")

    def info(self) -> dict[str, Any]:
        """Return what `GET /` answers."""
        limits = {
            "action_duration": (100, self.max_timeout),
            "action_logs": (0, 10 * 2**20),
            "action_memory": (self.min_memory * 2**20, self.max_memory * 2**20),
        }
        bounds = {
            f"{prefix}{end}_{name}": value
            for name, values in limits.items()
            for end, value in zip(("min", "max"), values, strict=True)
            for prefix in ("", "default_")
        }
        runtime = {"attached": True, "deprecated": False, "requireMain": False}
        return {
            "api_paths": ["/api/v1"],
            "description": "OpenWhisk",
            "limits": {
                "actions_per_minute": self.per_minute,
                "concurrent_actions": 30,
                "sequence_length": 50,
                "triggers_per_minute": 60,
                **bounds,
            },
            "runtimes": {
                "python": [
                    {**runtime, "kind": kind, "image": image, "default": kind == self.default}
                    for kind, image in self.kinds.items()
                ],
            },
            "support": {
                "github": "https://github.com/apache/openwhisk/issues",
                "slack": "http://slack.openwhisk.org",
            },
        }

    def limits(self) -> dict[str, Any]:
        """Return the limits of the key."""
        return {
            "concurrentInvocations": 30,
            "firesPerMinute": 60,
            "invocationsPerMinute": self.per_minute,
            "maxActionConcurrency": 1,
            "maxActionInstances": 30,
            "maxActionLogs": 10,
            "maxActionMemory": self.max_memory,
            "maxActionTimeout": self.max_timeout,
            "maxParameterSize": f"{MAX_PAYLOAD} B",
            "minActionConcurrency": 1,
            "minActionLogs": 0,
            "minActionMemory": self.min_memory,
            "minActionTimeout": 100,
        }

    def put(self, name: str, content: dict[str, Any], overwrite: bool) -> dict[str, Any]:
        """Create an action or update it: given fields replace the old, annotations merge."""
        old = self.actions.get(name)
        execution = self._check_exec(content["exec"]) if "exec" in content else None
        if old and not overwrite:
            raise Rejection(409, "resource already exists")
        package = name.rpartition("/")[0]
        if package and package not in self.packages:
            raise Rejection(404, NOT_THERE)
        if old is None and execution is None:
            raise Rejection(400, "exec undefined")
        defaults = {"concurrency": 1, "logs": 10, "memory": 256, "timeout": 60000}
        limits = {**(old.limits if old else defaults), **content.get("limits", {})}
        self._check_limits(limits)
        annotations = {**(old.annotations if old else {})}
        annotations |= values_of(content.get("annotations", []))
        annotations.setdefault("provide-api-key", False)
        for removed in content.get("delAnnotations", []):
            annotations.pop(removed, None)
        parameters = old.parameters if old else {}
        if "parameters" in content:
            parameters = values_of(content["parameters"])
        version = old.version + 1 if old else 1
        self.actions[name] = Action(
            execution or (old.exec if old else {}), annotations, parameters, limits, version
        )
        self.stop(name)
        return self.actions[name].document(name)

    def _check_exec(self, given: dict[str, Any]) -> dict[str, Any]:
        kind = self.default if given["kind"] == "python:default" else given["kind"]
        if kind not in self.kinds:
            known = ", ".join(f"'{each}'" for each in (*self.kinds, "blackbox", "sequence"))
            text = f"The specified runtime '{kind}' is not supported by this platform."
            raise Rejection(400, f"{MALFORMED}{text} Valid values are: {known}.", cors=False)
        if "code" not in given:
            text = f"'code' must be a string or attachment object defined in 'exec' for '{kind}'"
            raise Rejection(400, f"{MALFORMED}{text} actions", cors=False)
        code = given["code"]
        if len(code) > MAX_CODE:
            raise Rejection(413, f"exec larger than allowed: {len(code)} > {MAX_CODE} bytes.")
        return {"kind": kind, "code": code, "binary": given.get("binary", is_base64(code))}

    def _check_limits(self, limits: dict[str, int]) -> None:
        memory, timeout = limits["memory"], limits["timeout"]
        problem = ""
        if memory < self.min_memory:
            problem = f"memory size {memory} MB below allowed threshold of {self.min_memory} MB"
        if memory > self.max_memory:
            problem = f"memory size {memory} MB exceeds allowed threshold of {self.max_memory} MB"
        if timeout > self.max_timeout:
            limit = f"{self.max_timeout} milliseconds"
            problem = f"duration {timeout} milliseconds exceeds allowed threshold of {limit}"
        if problem:
            raise Rejection(400, f"requirement failed: {problem}")

    def bound(self, name: str) -> dict[str, Any]:
        """Return the parameters that an action gets from its package and its own document."""
        package = name.rpartition("/")[0]
        return {**self.packages.get(package, {}), **self.actions[name].parameters}

    def stop(self, name: str) -> None:
        """End the action's container."""
        if name in self.containers:
            self.containers.pop(name)[0].close()

    def throttle(self, cors: bool) -> None:
        """Count an activation in its calendar minute."""
        minute = int(self.clock() // 60)
        self.minutes[minute] += 1
        if (count := self.minutes[minute]) > self.per_minute:
            text = f"Too many requests in the last minute (count: {count}, "
            raise Rejection(429, f"{text}allowed: {self.per_minute}).", cors=cors)

    def invoke(self, name: str, params: dict[str, Any]) -> Activation:
        """Begin an activation, cold or warm, and wait for it as long as for a response."""
        activation = Activation(uuid.uuid4().hex, Event())
        self.activations[activation.id] = activation
        Thread(target=self._activate, args=(activation, name, params), daemon=True).start()
        activation.done.wait(self.wait_seconds)
        return activation

    def _activate(self, activation: Activation, name: str, params: dict[str, Any]) -> None:
        action = self.actions[name]
        began = time.monotonic()
        facts = {"path": f"{NAMESPACE}/{name}", "waitTime": 1, "kind": action.exec["kind"]}
        facts |= {"timeout": False, "limits": action.limits}
        with self.locks[name]:  # a container takes one activation at a time
            try:
                logged = self._start(name, action, facts)
                container = self.containers[name][1]
                activation.result = container.run({**self.bound(name), **params})
                lines = container.log()[logged:].splitlines()
                activation.status = self._judge(activation, action, began)
            except SmokeError as error:
                cold = name not in self.containers
                refused = "Cannot start action. Check logs for details."
                activation.result = {"error": refused if cold else "command exited"}
                activation.status = "action developer error"
                lines = str(error).splitlines()
            if activation.status == "action developer error":
                self.stop(name)
        activation.record = {
            "activationId": activation.id,
            "annotations": pairs(facts),
            "duration": int((time.monotonic() - began) * 1000),
            "end": int(time.time() * 1000),
            "logs": [f"2026-01-01T00:00:00.000Z stdout: {line}" for line in lines],
            "name": name.rpartition("/")[2],
            "namespace": NAMESPACE,
            "publish": False,
            "response": {
                "result": activation.result,
                "size": len(json.dumps(activation.result) + "\n"),
                "status": activation.status,
                "success": activation.status == "success",
            },
            "start": int(time.time() * 1000),
            "subject": NAMESPACE,
            "version": f"0.0.{action.version}",
        }
        activation.done.set()

    def _judge(self, activation: Activation, action: Action, began: float) -> str:
        """Return the status of an activation that answered; its result may be too much."""
        timeout = action.limits["timeout"]
        result = activation.result
        if time.monotonic() - began > timeout / 1000 + self.pull_seconds:
            text = f"The action exceeded its time limits of {timeout} milliseconds"
            activation.result = {"error": f"{text} during initialization."}
            return "action developer error"
        if not isinstance(result, dict):
            activation.result = {"error": "The action did not return a dictionary or array."}
            return "action developer error"
        text = json.dumps(result) + "\n"
        if len(text) > MAX_PAYLOAD:
            what = f"exceeded the allowed length: {len(text)} > {MAX_PAYLOAD} bytes."
            cut = f"The truncated response was: {text[:MAX_PAYLOAD]}"
            activation.result = {"error": f"The action produced a response that {what} {cut}"}
        return "application error" if "error" in activation.result else "success"

    def _start(self, name: str, action: Action, facts: dict[str, Any]) -> int:
        """Start the action's container unless it runs; return the length of its log so far."""
        if name in self.containers:
            return len(self.containers[name][1].log())
        began = time.monotonic()
        time.sleep(self.pull_seconds)
        kind = action.exec["kind"]
        image = self.kinds[kind]
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            archive = write_archive(folder / "action.zip", action.exec["code"])
            with zipfile.ZipFile(archive) as content:
                names = content.namelist()
                own = content.read("exec.env").decode() if "exec.env" in names else ""
            if own and own != self.environments.get(kind, image.partition(":")[0]):
                raise SmokeError(f"Expected exec.env should start with {image}")
            found = cpython.find_python(re.findall(r"v(\d+\.\d+)", image)[0])
            python = found.path if found else sys.executable
            running = stack.enter_context(actionloop.start_action(archive, python))
            self.containers[name] = stack.pop_all(), running
        facts["initTime"] = int((time.monotonic() - began) * 1000)
        return 0


def is_base64(code: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9+/]*=*", code[:1000]) is not None


def write_archive(path: Path, code: str) -> Path:
    """Write an action's code as a zip: a zip as it is, else the one module in it."""
    if is_base64(code):
        path.write_bytes(base64.b64decode(code))
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", code)
    return path


@contextmanager
def openwhisk(certificate: Path | None = None, **settings: Any) -> Iterator[OpenWhisk]:
    """A platform on a free port of 127.0.0.1, until the block ends."""
    platform = OpenWhisk(**settings)

    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            path = urlsplit(self.path).path
            platform.requests.append((self.command, path))
            try:
                waiting = platform.statuses.get(self.command)
                if waiting and (status := waiting.pop(0)):
                    raise Rejection(status, "an error of the platform's own")
                self.route(path, dict(parse_qsl(urlsplit(self.path).query)), body)
            except local_server.RequestRefused as refusal:
                answer = {"code": uuid.uuid4().hex, "error": str(refusal)}
                self.reply(refusal.status, answer, cors=refusal.cors)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.handle_any
            raise AttributeError(name)

        def route(self, path: str, query: dict[str, str], body: bytes) -> None:
            if path == "/":
                return self.root()
            if web := re.fullmatch(
                r"/api/v1/web/([^/]+)/([^/]+)/([^/]+?)(?:\.[^/]*)?(?:/.*)?", path
            ):
                return self.web(body, *map(unquote, web.groups()))
            self.authorize(unquote(path.removeprefix("/api/v1/namespaces/").partition("/")[0]))
            if re.fullmatch("/api/v1/namespaces/[^/]+/limits", path):
                return self.reply(200, platform.limits())
            match = re.fullmatch(r"/api/v1/namespaces/[^/]+/(\w+)/(.+)", path)
            if not match:
                raise Rejection(404, NOT_THERE)
            names = [unquote(part) for part in match[2].split("/")]
            if not all(_ENTITY.fullmatch(name) for name in names):
                text = "The name of the entity contains illegal characters."
                raise Rejection(400, text, cors=False)
            handle = {
                "actions": self.action, "packages": self.package, "activations": self.record,
            }[match[1]]  # fmt: skip
            return handle("/".join(names), query, body)

        def root(self) -> None:
            if platform.root == 302:
                return self.send(302, {"location": "https://console.example/"}, b"")
            if platform.root != 200:
                raise Rejection(platform.root, "no such route")
            self.reply(200, platform.info(), cors=False)

        def authorize(self, namespace: str) -> None:
            sent = self.headers.get("authorization", "")
            if sent != "Basic " + base64.b64encode(AUTH.encode()).decode():
                text = "The supplied authentication is invalid"
                if not sent:
                    text = "The resource requires authentication, which was not supplied with the"
                    text = f"{text} request"
                raise Rejection(401, text, cors=False)
            if namespace not in ("_", NAMESPACE):
                text = "The supplied authentication is not authorized to access this resource."
                raise Rejection(403, text)

        def package(self, name: str, query: dict[str, str], body: bytes) -> None:
            if self.command == "PUT":
                platform.packages[name] = values_of(json.loads(body).get("parameters", []))
            elif name not in platform.packages:
                raise Rejection(404, NOT_THERE)
            self.reply(
                200,
                {
                    "annotations": [],
                    "binding": {},
                    "name": name,
                    "namespace": NAMESPACE,
                    "parameters": pairs(platform.packages[name]),
                    "publish": False,
                    "updated": int(time.time() * 1000),
                    "version": "0.0.1",
                },
            )

        def action(self, name: str, query: dict[str, str], body: bytes) -> None:
            if self.command == "PUT":
                overwrite = query.get("overwrite") == "true"
                document = platform.put(name, json.loads(body), overwrite)
                return self.reply(200, document) if platform.payload else self.send_ok()
            if name not in platform.actions:
                raise Rejection(404, NOT_THERE)
            if self.command == "POST":
                return self.invoke(name, query, body)
            document = platform.actions[name].document(name)
            if self.command == "DELETE":
                platform.stop(name)
                del platform.actions[name]
                return self.reply(200, document) if platform.payload else self.send(204, {}, b"")
            document["parameters"] = pairs(platform.bound(name))
            if query.get("code") == "false":
                document["exec"] = {k: v for k, v in document["exec"].items() if k != "code"}
            return self.reply(200, document)

        def invoke(self, name: str, query: dict[str, str], body: bytes) -> None:
            params = local_server._parse_json(body or b"{}")
            if not isinstance(params, dict):
                raise Rejection(400, f"{MALFORMED}JSON object expected", cors=False)
            if len(body) > MAX_PAYLOAD:
                text = f"Request larger than allowed: {len(body)} > {MAX_PAYLOAD} bytes."
                raise Rejection(413, text)
            platform.throttle(cors=True)
            activation = platform.invoke(name, params)
            if query.get("blocking") != "true" or not activation.done.is_set():
                return self.reply(202, {"activationId": activation.id}, activation.id)
            whole = query.get("result") != "true"
            answer = activation.record if whole else activation.result
            status = 200 if activation.status == "success" else 502
            return self.reply(status, answer, activation.id)

        def record(self, name: str, query: dict[str, str], body: bytes) -> None:
            activation, _, logs = name.partition("/")
            known = platform.activations.get(activation)
            if known is None or not known.done.is_set() or platform.late > 0:
                platform.late -= 1
                raise Rejection(404, NOT_THERE)
            self.reply(200, {"logs": known.record["logs"]} if logs else known.record)

        def web(self, body: bytes, namespace: str, package: str, own: str) -> None:
            name = own if package == "default" else f"{package}/{own}"
            action = platform.actions.get(name) if namespace == NAMESPACE else None
            if action is None or not action.annotations.get("web-export"):
                raise Rejection(404, NOT_THERE, cors=False)
            secret = action.annotations.get("require-whisk-auth", False)
            if secret is not False and str(secret) != self.headers.get("x-require-whisk-auth"):
                text = "Authentication is possible but has failed or not yet been provided."
                return self.send(*Rejection(401, text).response())
            ids = [""]

            def main(params: dict[str, Any]) -> Any:
                platform.throttle(cors=False)
                if action.annotations.get("final") and params.keys() & platform.bound(name).keys():
                    text = "Request defines parameters that are not allowed (e.g., reserved "
                    raise Rejection(400, f"{text}properties).")
                activation = platform.invoke(name, params)
                ids[0] = activation.id
                if not activation.done.is_set():
                    raise Rejection(202, "Response not yet ready.")
                if activation.status == "action developer error":
                    raise Rejection(400, "There was an error processing your request.")
                return activation.result

            headers = {key.lower(): value for key, value in self.headers.items()}
            request = local_server.IncomingRequest(self.command, self.path, headers, body)
            raw = bool(action.annotations.get("raw-http"))
            status, headers, content = local_server.answer_request(main, request, raw)
            if headers.pop("x-openwhisk-activation-id", "") and ids[0]:
                headers["x-openwhisk-activation-id"] = ids[0]
            self.send(status, headers, content)

        def reply(
            self, status: int, document: Any, activation: str = "", cors: bool = True
        ) -> None:
            headers = {"content-type": "application/json", **(CORS if cors else {})}
            if activation:
                headers["x-openwhisk-activation-id"] = activation
            if status == 401:
                realm = 'Basic realm="OpenWhisk secure realm",charset=UTF-8'
                headers["www-authenticate"] = realm
            text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
            self.send(status, headers, text.encode())

        def send_ok(self) -> None:
            self.send(200, {"content-type": "text/plain; charset=UTF-8"}, b"OK")

        def send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            if status != 204:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.command != "HEAD" else b"")

        def log_message(self, *_: object) -> None:
            pass

    with listening(Connection, certificate) as port:
        platform.url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        try:
            yield platform
        finally:
            for name in list(platform.containers):
                platform.stop(name)
