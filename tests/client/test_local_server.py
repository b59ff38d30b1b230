"""The local server: OpenWhisk's parameters for a request, and `python3 -m action --serve`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from action.web import MAX_PAYLOAD
from builder.artifact.smoke import SAMPLE
from builder.base.paths import ROOT
from client.local_server import IncomingRequest, RequestRefused, web_action_params
from tests.conftest import HERE, interpreter
from tests.support.local_server import LocalServer

PICTURE = SAMPLE.read_bytes()
JPEG = {"content-type": "image/jpeg"}
FORM = "application/x-www-form-urlencoded"


def test_parameters_are_those_of_openwhisk() -> None:
    request = IncomingRequest("POST", "/a/b?topK=5&topK=6&x=%20y", JPEG, b"\xff\xd8")
    system = {"__ow_method": "post", "__ow_headers": JPEG, "__ow_path": "/a/b"}
    assert web_action_params(request) == {**system, "topK": "6", "x": " y", "__ow_body": "/9g="}
    query = "topK=5&topK=6&x=%20y"
    assert web_action_params(request, True) == {**system, "__ow_query": query, "__ow_body": "/9g="}
    empty = IncomingRequest("GET", "/", {})
    system = {"__ow_method": "get", "__ow_headers": {}, "__ow_path": ""}
    assert web_action_params(empty) == system
    assert web_action_params(empty, True) == {**system, "__ow_query": "", "__ow_body": ""}

    def body(kind: str, content: bytes, raw: bool = False) -> Any:
        sent = web_action_params(
            IncomingRequest("POST", "/?a=0", {"content-type": kind}, content), raw
        )
        return {name: value for name, value in sent.items() if name in ("a", "b", "__ow_body")}

    assert body("application/json", b'{"a": 1}') == {"a": 1}
    assert body("application/json", b"[1]") == {"a": "0", "__ow_body": [1]}
    assert body("application/json", b"[1]", True) == {"__ow_body": "WzFd"}
    assert body("application/problem+json", b"[1]", True) == {"__ow_body": "[1]"}
    assert body("a/b+json", b"[1]", True) == {"__ow_body": "WzFd"}
    assert body("a/b+json; charset=utf-8", b"[1]", True) == {"__ow_body": "[1]"}
    assert body(FORM, b"b=1") == {"a": "0", "b": "1"}
    assert body(FORM, b"b=1", True) == {"__ow_body": "b=1"}
    assert body("text/plain", "ä".encode()) == {"a": "0", "__ow_body": "ä"}
    assert body("multipart/form-data; boundary=x", b"--x") == {"a": "0", "__ow_body": "LS14"}
    with pytest.raises(RequestRefused, match="OpenWhisk's own"):
        web_action_params(IncomingRequest("POST", "/?__ow_body=x", {}))
    for content in (bytes(MAX_PAYLOAD + 1), bytes(MAX_PAYLOAD * 3 // 4)):  # base64 counts
        with pytest.raises(RequestRefused) as refused:
            web_action_params(IncomingRequest("POST", "/", JPEG, content))
        assert refused.value.status == 413


@pytest.fixture(scope="module", params=[(), ("--raw",)], ids=["true", "raw"])
def server(installed: Path, request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    running = LocalServer(installed, *request.param)
    try:
        yield running
    finally:
        code, printed = running.stop()
    assert (code, printed.endswith("stopped\n")) == (0, True), printed
    assert "Traceback" not in printed


def test_requests_are_served(server: LocalServer) -> None:
    status, headers, body = server.ask("POST", "/?topK=1", PICTURE, content_type="image/jpeg")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert json.loads(body)["results"][0]["className"] == "espresso"
    assert json.loads(server.ask("GET", accept="application/json")[2])["health"] == "ok"
    assert server.ask("HEAD")[::2] == (200, b"")
    status, headers, body = server.ask("OPTIONS")
    assert (status, headers["allow"], body) == (204, "GET, HEAD, OPTIONS, POST", b"")
    status, headers, body = server.ask("DELETE")
    assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    for sent, kind, expected in (
        (b"", "image/jpeg", 400),
        (b"{", "application/json", 400),
        (b"text", "text/plain", 415),
        (b"text", "image/png", 415),
        (PICTURE[:5000], "image/jpeg", 422),
        (bytes(MAX_PAYLOAD + 1), "image/jpeg", 413),
        (bytes(MAX_PAYLOAD * 3 // 4), "image/jpeg", 413),
    ):
        status, headers, body = server.ask("POST", "/", sent, content_type=kind)
        assert (status, headers["content-type"]) == (expected, "application/json")
        assert "error" in json.loads(body)


def test_malformed_http_is_refused(server: LocalServer) -> None:
    for request, expected in (
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"GARBAGE\r\n\r\n", b"400"),
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(request)
            assert expected in client.recv(4096).split(b"\r\n")[0]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10):  # a silent client
        assert server.ask("GET")[0] == 200


def test_openapi_description_is_true(server: LocalServer, tmp_path: Path, thorough: bool) -> None:
    """Schemathesis derives good and bad requests from the description, and checks the replies."""
    description = json.loads(server.ask("GET", accept="application/json")[2])
    openapi = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    assert openapi["info"]["version"] == description["version"]
    openapi["components"]["schemas"]["TopK"]["maximum"] = description["classes"]
    (tmp_path / "openapi.json").write_text(json.dumps(openapi))
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(tmp_path / "openapi.json")]
    command += ["--url", f"http://127.0.0.1:{server.port}", "--checks", "all", "--no-color"]
    command += ["--max-examples", "50" if thorough else "15"]
    command += ["--seed", "1", "--continue-on-failure"]
    command += ["--phases", "examples,coverage,fuzzing"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated and int(generated[1]) > (100 if thorough else 60), done.stdout


def test_port_in_use(installed: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (str(taken.getsockname()[1]), "99999"):
            done = subprocess.run(
                [interpreter(HERE), "-m", "action", "--serve", "--port", port],
                cwd=installed, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 2
            assert f"cannot listen on port {port}: " in done.stderr
            assert "Traceback" not in done.stderr
