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
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from action.web import MAX_PAYLOAD
from builder.artifact import actionloop
from builder.base.errors import SmokeError
from client import local_server
from client.local_server import IncomingRequest, RequestRefused, Response
from tests.support.server import listening

AUTH = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:a-password-of-64-characters-as-wsk-has-it"
NAMESPACE = "guest"
MAX_CODE = 48 * 2**20
MIN_MEMORY, MIN_TIMEOUT = 128, 100
PER_MINUTE = 60
NOT_THERE = "The requested resource does not exist."
MALFORMED = "The request content was malformed:\n"
REFUSED_AT_INIT = "Cannot start action. Check logs for details."
DEVELOPER_ERROR = "action developer error"
_WEB = re.compile(r"/api/v1/web/([^/]+)/([^/]+)/([^/]+?)(?:\.[^/]*)?(?:/.*)?")
_API = re.compile(r"/api/v1/namespaces/[^/]+/(limits|actions|packages|activations)(?:/(.+))?")
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "Authorization, Origin, X-Requested-With, Content-Type, "
    "Accept, User-Agent",
    "access-control-allow-methods": "GET, DELETE, POST, PUT, HEAD",
}

Document = dict[str, Any]
Respond = Callable[[IncomingRequest], Response]
# An answer other than the one that was asked for; some come before CORS headers are set.
Rejection = partial(RequestRefused, cors=True)


def pairs(values: Document) -> list[Document]:
    return [{"key": key, "value": value} for key, value in values.items()]


def values_of(listed: list[Document]) -> Document:
    return {each["key"]: each["value"] for each in listed}


@dataclass
class OpenWhisk:
    """The platform: its store, and what it does by itself.

    Attributes:
        kinds: name -> image of its Python runtimes.
        folder: for the zip of an action that starts.
        default: name of the default kind.
        url: of its API host.
        environments: name -> OW_EXECUTION_ENV; by default the image without its tag.
        max_memory: of an action, in MB; max_timeout in milliseconds.
        wait_seconds: how long a response is waited for.
        gateway: answers a request in place of the platform, which it may call.
        packages: name -> bound parameters.
        actions: name -> document, as PUT answers it.
        activations: id -> record; logs: id -> lines of its container's log.
        requests: method and path of each request.
    """

    kinds: dict[str, str]
    folder: Path
    default: str = ""
    url: str = ""
    environments: dict[str, str] = field(default_factory=dict)
    max_memory: int = 512
    max_timeout: int = 300_000
    wait_seconds: float = 60.0
    gateway: Callable[[IncomingRequest, Respond], Response] = lambda sent, respond: respond(sent)
    clock: Callable[[], float] = time.time
    packages: dict[str, Document] = field(default_factory=dict)
    actions: dict[str, Document] = field(default_factory=dict)
    activations: dict[str, Document] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    containers: dict[str, tuple[ExitStack, actionloop.RunningAction]] = field(default_factory=dict)
    minutes: Counter[int] = field(default_factory=Counter)
    busy: Lock = field(default_factory=Lock)

    def info(self) -> Document:
        """Return what `GET /` answers."""
        bounds = {
            "min_action_duration": MIN_TIMEOUT,
            "max_action_duration": self.max_timeout,
            "min_action_logs": 0,
            "max_action_logs": 10 * 2**20,
            "min_action_memory": MIN_MEMORY * 2**20,
            "max_action_memory": self.max_memory * 2**20,
        }
        limits = {"actions_per_minute": PER_MINUTE, "concurrent_actions": 30}
        limits |= {"sequence_length": 50, "triggers_per_minute": 60}
        limits |= bounds | {f"default_{name}": value for name, value in bounds.items()}
        runtime = {"attached": True, "deprecated": False, "requireMain": False}
        pythons = [
            {**runtime, "kind": kind, "image": image, "default": kind == self.default}
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

    def limits(self) -> Document:
        """Return the limits of the key."""
        least = {"Concurrency": 1, "Logs": 0, "Memory": MIN_MEMORY, "Timeout": MIN_TIMEOUT}
        most = {"Concurrency": 1, "Logs": 10, "Memory": self.max_memory}
        most |= {"Timeout": self.max_timeout, "Instances": 30}
        return {
            "concurrentInvocations": 30,
            "firesPerMinute": 60,
            "invocationsPerMinute": PER_MINUTE,
            "maxParameterSize": f"{MAX_PAYLOAD} B",
            **{f"minAction{name}": value for name, value in least.items()},
            **{f"maxAction{name}": value for name, value in most.items()},
        }

    def put(self, name: str, content: Document) -> Document:
        """Create an action or update it: given fields replace the old, annotations merge."""
        package, _, own = name.rpartition("/")
        if package and package not in self.packages:
            raise Rejection(404, NOT_THERE)
        limits = {"concurrency": 1, "logs": 10, "memory": 256, "timeout": 60000}
        new = {"annotations": [], "limits": limits, "parameters": [], "version": "0.0.0"}
        old = self.actions.get(name, new)
        execution = self._check_exec(content["exec"])
        limits = {**old["limits"], **content.get("limits", {})}
        self._check_limits(**limits)
        annotations = values_of([*old["annotations"], *content.get("annotations", [])])
        annotations.setdefault("provide-api-key", False)
        for removed in ("exec", *content.get("delAnnotations", [])):
            annotations.pop(removed, None)
        self.stop(name)
        self.actions[name] = {
            "annotations": pairs({**annotations, "exec": execution["kind"]}),
            "exec": execution,
            "limits": limits,
            "name": own,
            "namespace": f"{NAMESPACE}/{package}".rstrip("/"),
            "parameters": content.get("parameters", old["parameters"]),
            "publish": False,
            "updated": int(time.time() * 1000),
            "version": f"0.0.{int(old['version'].rpartition('.')[2]) + 1}",
        }
        return self.actions[name]

    def _check_exec(self, given: Document) -> Document:
        kind = self.default if given["kind"] == "python:default" else given["kind"]
        if kind not in self.kinds:
            known = ", ".join(f"'{each}'" for each in (*self.kinds, "blackbox", "sequence"))
            text = f"The specified runtime '{kind}' is not supported by this platform."
            raise Rejection(400, f"{MALFORMED}{text} Valid values are: {known}.", cors=False)
        if (size := len(given["code"])) > MAX_CODE:
            raise Rejection(413, f"exec larger than allowed: {size} > {MAX_CODE} bytes.")
        return {"kind": kind, "code": given["code"], "binary": given.get("binary", True)}

    def _check_limits(self, memory: int, timeout: int, **_: int) -> None:
        for what, value, least, most, unit in (
            ("memory size", memory, MIN_MEMORY, self.max_memory, "MB"),
            ("duration", timeout, MIN_TIMEOUT, self.max_timeout, "milliseconds"),
        ):
            if not least <= value <= most:
                verb, limit = ("exceeds", most) if value > most else ("below", least)
                text = f"{what} {value} {unit} {verb} allowed threshold of {limit} {unit}"
                raise Rejection(400, f"requirement failed: {text}")

    def bound(self, name: str) -> Document:
        """Return the parameters that an action gets from its package and its own document."""
        package = self.packages.get(name.rpartition("/")[0], {})
        return {**package, **values_of(self.actions[name]["parameters"])}

    def stop(self, name: str) -> None:
        """End the action's container."""
        if name in self.containers:
            self.containers.pop(name)[0].close()

    def throttle(self, cors: bool) -> None:
        """Count an activation in its calendar minute."""
        minute = int(self.clock() // 60)
        self.minutes[minute] += 1
        if (count := self.minutes[minute]) > PER_MINUTE:
            text = f"Too many requests in the last minute (count: {count}, "
            raise Rejection(429, f"{text}allowed: {PER_MINUTE}).", cors=cors)

    def activate(self, name: str, params: Document) -> Document:
        """Run an activation, cold or warm; return its record."""
        action, began = self.actions[name], time.monotonic()
        facts = {"path": f"{NAMESPACE}/{name}", "waitTime": 1, "kind": action["exec"]["kind"]}
        facts |= {"timeout": False, "limits": action["limits"]}
        with self.busy:  # a container takes one activation at a time
            try:
                if name not in self.containers:
                    facts["initTime"] = self._start(name)
                container = self.containers[name][1]
                result = container.run({**self.bound(name), **params})
                seconds = time.monotonic() - began
                status, result = judge(result, seconds, action["limits"]["timeout"])
                log = container.log()
            except SmokeError as error:
                text = "command exited" if name in self.containers else REFUSED_AT_INIT
                status, result, log = DEVELOPER_ERROR, {"error": text}, str(error)
            if status == DEVELOPER_ERROR:
                self.stop(name)
        identifier, end = uuid.uuid4().hex, time.time()
        duration = time.monotonic() - began
        self.logs[identifier] = [f"2026-01-01T00:00Z stdout: {line}" for line in log.splitlines()]
        self.activations[identifier] = {
            "activationId": identifier,
            "annotations": pairs(facts),
            "duration": int(duration * 1000),
            "end": int(end * 1000),
            "logs": [],
            "name": action["name"],
            "namespace": NAMESPACE,
            "publish": False,
            "response": {
                "result": result,
                "size": len(json.dumps(result) + "\n"),
                "status": status,
                "success": status == "success",
            },
            "start": int((end - duration) * 1000),
            "subject": NAMESPACE,
            "version": action["version"],
        }
        return self.activations[identifier]

    def _start(self, name: str) -> int:
        """Start a container for the action; return the milliseconds of its init."""
        execution = self.actions[name]["exec"]
        kind, code, archive = execution["kind"], execution["code"], self.folder / "action.zip"
        if execution["binary"]:
            archive.write_bytes(base64.b64decode(code))
        else:
            with zipfile.ZipFile(archive, "w") as content:
                content.writestr("__main__.py", code)
        with zipfile.ZipFile(archive) as content:
            own = "exec.env" in content.namelist() and content.read("exec.env").decode()
        image = self.kinds[kind]
        if own and own != self.environments.get(kind, image.partition(":")[0]):
            raise SmokeError(f"Expected exec.env should start with {image}")
        with ExitStack() as stack:
            running = stack.enter_context(actionloop.start_action(archive, sys.executable))
            self.containers[name] = stack.pop_all(), running
        return int(running.init_seconds * 1000)

    def respond(self, request: IncomingRequest) -> Response:
        """Answer a request."""
        path = urlsplit(request.target).path
        self.requests.append((request.method, path))
        try:
            if path == "/":
                return reply(self.info(), cors=False)
            if web := _WEB.fullmatch(path):
                return self._answer_web(request, *map(unquote, web.groups()))
            self._authorize(request)
            found = _API.fullmatch(path)
            if not found:
                raise Rejection(404, NOT_THERE)
            if found[1] == "limits":
                return reply(self.limits())
            answers = {"actions": self._answer_action, "packages": self._answer_package}
            answer = answers.get(found[1], self._answer_record)
            return answer(unquote(found[2] or ""), request)
        except RequestRefused as refusal:
            response = refusal.response()
            headers = {**response.headers, **(CORS if refusal.cors else {})}
            if refusal.status == 401:
                headers["www-authenticate"] = 'Basic realm="OpenWhisk secure realm",charset=UTF-8'
            return response._replace(headers=headers)

    def _authorize(self, request: IncomingRequest) -> None:
        sent = request.headers.get("authorization", "")
        if not sent:
            text = "The resource requires authentication, which was not supplied with the request"
            raise Rejection(401, text, cors=False)
        if sent != "Basic " + base64.b64encode(AUTH.encode()).decode():
            raise Rejection(401, "The supplied authentication is invalid", cors=False)
        namespace = request.target.removeprefix("/api/v1/namespaces/").partition("/")[0]
        if namespace not in ("_", NAMESPACE):
            text = "The supplied authentication is not authorized to access this resource."
            raise Rejection(403, text)

    def _answer_package(self, name: str, request: IncomingRequest) -> Response:
        if request.method == "PUT":
            self.packages[name] = values_of(json.loads(request.body)["parameters"])
        elif name not in self.packages:
            raise Rejection(404, NOT_THERE)
        document = {"annotations": [], "binding": {}, "name": name, "namespace": NAMESPACE}
        more = {"parameters": pairs(self.packages[name]), "publish": False, "updated": 0}
        return reply({**document, **more, "version": "0.0.1"})

    def _answer_action(self, name: str, request: IncomingRequest) -> Response:
        if request.method == "PUT":
            return reply(self.put(name, json.loads(request.body)))
        if name not in self.actions:
            raise Rejection(404, NOT_THERE)
        if request.method == "POST":
            return self._answer_invocation(name, request)
        if request.method == "DELETE":
            self.stop(name)
            return reply(self.actions.pop(name))
        document = {**self.actions[name], "parameters": pairs(self.bound(name))}
        if "code=false" in request.target:
            execution = document["exec"].items()
            document["exec"] = {key: value for key, value in execution if key != "code"}
        return reply(document)

    def _answer_invocation(self, name: str, request: IncomingRequest) -> Response:
        params = local_server._parse_json(request.body)
        if not isinstance(params, dict):
            raise Rejection(400, f"{MALFORMED}JSON object expected", cors=False)
        if (size := len(request.body)) > MAX_PAYLOAD:
            raise Rejection(413, f"Request larger than allowed: {size} > {MAX_PAYLOAD} bytes.")
        self.throttle(cors=True)
        record = self.activate(name, params)
        identifier, response = record["activationId"], record["response"]
        if "blocking=true" not in request.target or self._is_late(record):
            return reply({"activationId": identifier}, 202, identifier)
        answer = response["result"] if "result=true" in request.target else record
        return reply(answer, 200 if response["success"] else 502, identifier)

    def _is_late(self, record: Document) -> bool:
        """Return whether the response was sent before an activation was done."""
        return bool(record["duration"] >= 1000 * self.wait_seconds)

    def _answer_record(self, name: str, request: IncomingRequest) -> Response:
        identifier, _, logs = name.partition("/")
        if identifier not in self.activations:
            raise Rejection(404, NOT_THERE)
        if logs:
            return reply({"logs": self.logs[identifier]})
        return reply(self.activations[identifier])

    def _answer_web(
        self, request: IncomingRequest, namespace: str, package: str, own: str
    ) -> Response:
        name = own if package == "default" else f"{package}/{own}"
        action = self.actions.get(name) if namespace == NAMESPACE else None
        annotations = values_of(action["annotations"]) if action else {}
        if not annotations.get("web-export"):
            raise Rejection(404, NOT_THERE, cors=False)
        secret = annotations.get("require-whisk-auth", False)
        if secret is not False and str(secret) != request.headers.get("x-require-whisk-auth"):
            text = "Authentication is possible but has failed or not yet been provided."
            return Rejection(401, text).response()
        identifier = ""

        def main(params: Document) -> Any:
            nonlocal identifier
            self.throttle(cors=False)
            if annotations.get("final") and params.keys() & self.bound(name).keys():
                text = "Request defines parameters that are not allowed"
                raise Rejection(400, f"{text} (e.g., reserved properties).")
            record = self.activate(name, params)
            identifier = record["activationId"]
            if self._is_late(record):
                raise Rejection(202, "Response not yet ready.")
            if record["response"]["status"] == DEVELOPER_ERROR:
                raise Rejection(400, "There was an error processing your request.")
            return record["response"]["result"]

        response = local_server.answer_request(main, request, bool(annotations.get("raw-http")))
        if response.headers.pop("x-openwhisk-activation-id", "") and identifier:
            response.headers["x-openwhisk-activation-id"] = identifier
        return response


def judge(result: Any, seconds: float, timeout: int) -> tuple[str, Any]:
    """Return the status of an activation that answered, and its result, which may be too much."""
    if seconds * 1000 > timeout:
        text = f"The action exceeded its time limits of {timeout} milliseconds"
        return DEVELOPER_ERROR, {"error": f"{text} during initialization."}
    if not isinstance(result, dict):
        return DEVELOPER_ERROR, {"error": "The action did not return a dictionary or array."}
    text = json.dumps(result) + "\n"
    if len(text) > MAX_PAYLOAD:
        what = f"exceeded the allowed length: {len(text)} > {MAX_PAYLOAD} bytes."
        cut = f"The truncated response was: {text[:MAX_PAYLOAD]}"
        result = {"error": f"The action produced a response that {what} {cut}"}
    return "application error" if "error" in result else "success", result


def reply(document: Any, status: int = 200, activation: str = "", cors: bool = True) -> Response:
    headers = {"content-type": "application/json", **(CORS if cors else {})}
    if activation:
        headers["x-openwhisk-activation-id"] = activation
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return Response(status, headers, text.encode())


@contextmanager
def openwhisk(certificate: Path | None = None, **settings: Any) -> Iterator[OpenWhisk]:
    """A platform on a free port of 127.0.0.1, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        platform = OpenWhisk(folder=Path(folder), **settings)

        def respond(request: IncomingRequest) -> Response:
            return platform.gateway(request, platform.respond)

        with listening(respond, certificate) as port:
            platform.url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
            try:
                yield platform
            finally:
                for name in list(platform.containers):
                    platform.stop(name)
