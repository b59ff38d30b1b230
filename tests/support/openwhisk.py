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
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from action.web import MAX_PAYLOAD
from builder.artifact import actionloop
from builder.base import cpython
from builder.base.errors import SmokeError
from client import local_server
from client.local_server import IncomingRequest, RequestRefused, Response
from tests.support.server import listening

AUTH = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:a-password-of-64-characters-as-wsk-has-it"
NAMESPACE = "guest"
MAX_CODE = 48 * 2**20
MIN_MEMORY, MIN_TIMEOUT = 128, 100
NOT_THERE = "The requested resource does not exist."
MALFORMED = "The request content was malformed:\n"
NO_KEY = "The resource requires authentication, which was not supplied with the request"
REFUSED_AT_INIT = "Cannot start action. Check logs for details."
_ENTITY = re.compile(r"\w|\w[\w@ .-]{0,254}[\w@.-]", re.ASCII)
_WEB = re.compile(r"/api/v1/web/([^/]+)/([^/]+)/([^/]+?)(?:\.[^/]*)?(?:/.*)?")
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "Authorization, Origin, X-Requested-With, Content-Type, "
    "Accept, User-Agent",
    "access-control-allow-methods": "GET, DELETE, POST, PUT, HEAD",
}

# An answer other than the one that was asked for; some come before CORS headers are set.
Rejection = partial(RequestRefused, cors=True)


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
        annotations = {**self.annotations, "exec": self.exec["kind"]}
        code = {"exec": self.exec, "limits": self.limits}
        return describe_entity(name, annotations, self.parameters, self.version, code)


def describe_entity(
    name: str,
    annotations: dict[str, Any],
    parameters: dict[str, Any],
    version: int,
    more: dict[str, Any],
) -> dict[str, Any]:
    """Return the document of an action or a package."""
    package, _, own = name.rpartition("/")
    return {
        "annotations": pairs(annotations),
        **more,
        "name": own,
        "namespace": f"{NAMESPACE}/{package}" if package else NAMESPACE,
        "parameters": pairs(parameters),
        "publish": False,
        "updated": int(time.time() * 1000),
        "version": f"0.0.{version}",
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
        max_memory: of an action, in MB; max_timeout in milliseconds.
        per_minute: activations of a namespace in a calendar minute.
        wait_seconds: how long a response is waited for.
        pull_seconds: how much longer a cold start takes while the image is pulled.
        statuses: what the next requests of a method get instead of an answer.
        requests: method and path of each request.
        late: so many times a record that is asked for is not written yet.
        logs_apart: whether records have no logs, as with a log store of its own.
    """

    kinds: dict[str, str]
    url: str = ""
    environments: dict[str, str] = field(default_factory=dict)
    default: str = ""
    root: int = 200
    payload: bool = True
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
    logs_apart: bool = False
    minutes: Counter[int] = field(default_factory=Counter)
    locks: defaultdict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))

    def info(self) -> dict[str, Any]:
        """Return what `GET /` answers."""
        default = self.default or next(reversed(self.kinds), "")
        bounds = {
            "action_duration": (MIN_TIMEOUT, self.max_timeout),
            "action_logs": (0, 10 * 2**20),
            "action_memory": (MIN_MEMORY * 2**20, self.max_memory * 2**20),
        }
        limits = {
            f"{prefix}{end}_{name}": value
            for name, values in bounds.items()
            for end, value in zip(("min", "max"), values, strict=True)
            for prefix in ("", "default_")
        }
        limits |= {"actions_per_minute": self.per_minute, "concurrent_actions": 30}
        limits |= {"sequence_length": 50, "triggers_per_minute": 60}
        runtime = {"attached": True, "deprecated": False, "requireMain": False}
        pythons = [
            {**runtime, "kind": kind, "image": image, "default": kind == default}
            for kind, image in self.kinds.items()
        ]
        issues, slack = "https://github.com/apache/openwhisk/issues", "http://slack.openwhisk.org"
        return {
            "api_paths": ["/api/v1"],
            "description": "OpenWhisk",
            "limits": limits,
            "runtimes": {"python": pythons},
            "support": {"github": issues, "slack": slack},
        }

    def limits(self) -> dict[str, Any]:
        """Return the limits of the key."""
        least = {"Concurrency": 1, "Logs": 0, "Memory": MIN_MEMORY, "Timeout": MIN_TIMEOUT}
        most = {"Concurrency": 1, "Logs": 10, "Memory": self.max_memory}
        most |= {"Timeout": self.max_timeout, "Instances": 30}
        return {
            "concurrentInvocations": 30,
            "firesPerMinute": 60,
            "invocationsPerMinute": self.per_minute,
            "maxParameterSize": f"{MAX_PAYLOAD} B",
            **{f"minAction{name}": value for name, value in least.items()},
            **{f"maxAction{name}": value for name, value in most.items()},
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
        if memory < MIN_MEMORY:
            problem = f"memory size {memory} MB below allowed threshold of {MIN_MEMORY} MB"
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
                activation.result = {"error": REFUSED_AT_INIT if cold else "command exited"}
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

    def respond(self, request: IncomingRequest) -> Response:
        """Answer a request."""
        target = urlsplit(request.target)
        self.requests.append((request.method, target.path))
        try:
            waiting = self.statuses.get(request.method)
            if waiting and (status := waiting.pop(0)):
                raise Rejection(status, "an error of the platform's own")
            if target.path == "/":
                return self._answer_root()
            if web := _WEB.fullmatch(target.path):
                return self._answer_web(request, *map(unquote, web.groups()))
            self._authorize(request)
            if re.fullmatch("/api/v1/namespaces/[^/]+/limits", target.path):
                return reply(self.limits())
            match = re.fullmatch(r"/api/v1/namespaces/[^/]+/(\w+)/(.+)", target.path)
            if not match:
                raise Rejection(404, NOT_THERE)
            names = [unquote(part) for part in match[2].split("/")]
            if not all(_ENTITY.fullmatch(name) for name in names):
                text = "The name of the entity contains illegal characters."
                raise Rejection(400, text, cors=False)
            answer = {
                "actions": self._answer_action,
                "packages": self._answer_package,
                "activations": self._answer_record,
            }[match[1]]
            return answer("/".join(names), request)
        except RequestRefused as refusal:
            document = {"code": uuid.uuid4().hex, "error": str(refusal)}
            return reply(document, refusal.status, cors=refusal.cors)

    def _answer_root(self) -> Response:
        if self.root == 302:
            return Response(302, {"location": "https://console.example/"}, b"")
        if self.root != 200:
            raise Rejection(self.root, "no such route")
        return reply(self.info(), cors=False)

    def _authorize(self, request: IncomingRequest) -> None:
        sent = request.headers.get("authorization", "")
        if sent != "Basic " + base64.b64encode(AUTH.encode()).decode():
            text = "The supplied authentication is invalid" if sent else NO_KEY
            raise Rejection(401, text, cors=False)
        namespace = request.target.removeprefix("/api/v1/namespaces/").partition("/")[0]
        if namespace not in ("_", NAMESPACE):
            text = "The supplied authentication is not authorized to access this resource."
            raise Rejection(403, text)

    def _answer_package(self, name: str, request: IncomingRequest) -> Response:
        if request.method == "PUT":
            self.packages[name] = values_of(json.loads(request.body).get("parameters", []))
        elif name not in self.packages:
            raise Rejection(404, NOT_THERE)
        return reply(describe_entity(name, {}, self.packages[name], 1, {"binding": {}}))

    def _answer_action(self, name: str, request: IncomingRequest) -> Response:
        if request.method == "PUT":
            document = self.put(name, json.loads(request.body), "overwrite=true" in request.target)
            plain = Response(200, {"content-type": "text/plain; charset=UTF-8"}, b"OK")
            return reply(document) if self.payload else plain
        if name not in self.actions:
            raise Rejection(404, NOT_THERE)
        if request.method == "POST":
            return self._answer_invocation(name, request)
        document = self.actions[name].document(name)
        if request.method == "DELETE":
            self.stop(name)
            del self.actions[name]
            return reply(document) if self.payload else Response(204, {}, b"")
        document["parameters"] = pairs(self.bound(name))
        if "code=false" in request.target:
            document["exec"] = {k: v for k, v in document["exec"].items() if k != "code"}
        return reply(document)

    def _answer_invocation(self, name: str, request: IncomingRequest) -> Response:
        params = local_server._parse_json(request.body or b"{}")
        if not isinstance(params, dict):
            raise Rejection(400, f"{MALFORMED}JSON object expected", cors=False)
        if (size := len(request.body)) > MAX_PAYLOAD:
            raise Rejection(413, f"Request larger than allowed: {size} > {MAX_PAYLOAD} bytes.")
        self.throttle(cors=True)
        activation = self.invoke(name, params)
        if "blocking=true" not in request.target or not activation.done.is_set():
            return reply({"activationId": activation.id}, 202, activation.id)
        answer = activation.result if "result=true" in request.target else activation.record
        return reply(answer, 200 if activation.status == "success" else 502, activation.id)

    def _answer_record(self, name: str, request: IncomingRequest) -> Response:
        identifier, _, logs = name.partition("/")
        activation = self.activations.get(identifier)
        if activation is None or not activation.done.is_set() or self.late > 0:
            self.late -= 1
            raise Rejection(404, NOT_THERE)
        if logs:
            return reply({"logs": activation.record["logs"]})
        return reply({**activation.record, **({"logs": []} if self.logs_apart else {})})

    def _answer_web(
        self, request: IncomingRequest, namespace: str, package: str, own: str
    ) -> Response:
        name = own if package == "default" else f"{package}/{own}"
        action = self.actions.get(name) if namespace == NAMESPACE else None
        if action is None or not action.annotations.get("web-export"):
            raise Rejection(404, NOT_THERE, cors=False)
        secret = action.annotations.get("require-whisk-auth", False)
        if secret is not False and str(secret) != request.headers.get("x-require-whisk-auth"):
            text = "Authentication is possible but has failed or not yet been provided."
            return Rejection(401, text).response()
        ids = [""]

        def main(params: dict[str, Any]) -> Any:
            self.throttle(cors=False)
            if action.annotations.get("final") and params.keys() & self.bound(name).keys():
                text = (
                    "Request defines parameters that are not allowed (e.g., reserved properties)."
                )
                raise Rejection(400, text)
            activation = self.invoke(name, params)
            ids[0] = activation.id
            if not activation.done.is_set():
                raise Rejection(202, "Response not yet ready.")
            if activation.status == "action developer error":
                raise Rejection(400, "There was an error processing your request.")
            return activation.result

        raw = bool(action.annotations.get("raw-http"))
        response = local_server.answer_request(main, request, raw)
        if response.headers.pop("x-openwhisk-activation-id", "") and ids[0]:
            response.headers["x-openwhisk-activation-id"] = ids[0]
        return response


def reply(document: Any, status: int = 200, activation: str = "", cors: bool = True) -> Response:
    headers = {"content-type": "application/json", **(CORS if cors else {})}
    if activation:
        headers["x-openwhisk-activation-id"] = activation
    if status == 401:
        headers["www-authenticate"] = 'Basic realm="OpenWhisk secure realm",charset=UTF-8'
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return Response(status, headers, text.encode())


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
    with listening(platform.respond, certificate) as port:
        platform.url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        try:
            yield platform
        finally:
            for name in list(platform.containers):
                platform.stop(name)
