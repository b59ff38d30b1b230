"""The local server: OpenWhisk's parameters for a request, and `python3 -m action --serve`."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.base.paths import ROOT
from client.local_server import IncomingRequest, RequestRefused, web_action_params
from tests.builder.deploy import test_contract
from tests.support.local_server import run_client, serving_locally
from tests.support.server import ask


def test_reserved_parameters_are_refused() -> None:
    with pytest.raises(RequestRefused, match="not allowed"):
        web_action_params(IncomingRequest("POST", "/?__ow_body=x", {}))


@pytest.fixture(scope="module", params=[(), ("--raw",)], ids=["true", "raw"])
def port(installed: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    with serving_locally(installed, *request.param) as port:
        yield port


def test_malformed_http_is_refused(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
    for request, expected in (
        (b"GARBAGE\r\n\r\n", 400),
        (head + b"Content-Length: -5\r\n\r\n", 400),
        (head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (head + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (head + b"Transfer-Encoding: Chunked\r\n\r\nzz\r\n", 400),
        (head + b"Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 415),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: attacker.example\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
        (head + b"Content-Length: 9\r\n\r\nab", None),  # hangs up
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(request)
            if expected:
                assert client.recv(12)[-4:] == b" %d" % expected, request[:100]
    for _ in range(20):  # clients that reset the connection before they are answered
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=10):  # a silent client
        assert ask(port, "GET", "/", None, {}).status == 200


# Serves the code of a recorded action.
SERVE = """
import sys
sys.path.insert(0, sys.argv[1])
from client import local_server, tool_packages
tool_packages.add_tool_packages("waitress")
exec(sys.argv[3])
sys.exit(local_server.run_server(main, 0, sys.argv[2].endswith("raw")))
"""


@pytest.mark.parametrize(
    "name", ["rec_seen", "rec_seenraw", "rec_nothttp", "rec_http", "rec_httperror"]
)
def test_recorded_requests_get_the_answers_of_the_platform(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVE, str(ROOT), name, test_contract.ACTIONS[name]]
    sent = [each for each in test_contract.RECORDS if each["name"].startswith("web: ")]
    records = [each for each in sent if re.search(rf"/{name}\b", each["request"]["path"])]
    assert records
    with serving_locally(tmp_path, command=command) as port:
        for record in records:
            request = record["request"]
            body = test_contract.expand_body(request["body"], request["path"])
            headers = {**request["headers"], "Host": "127.0.0.1:3233"}
            found = ask(port, request["method"], request["path"], body, headers)
            test_contract.assert_agree(found, record["answer"])


def test_openapi_description_is_true(port: int, tmp_path: Path, thorough: bool) -> None:
    """Schemathesis derives good and bad requests from the description, and checks the replies."""
    description = json.loads(ask(port, "GET", "/", None, {"accept": "application/json"}).content)
    openapi = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    assert openapi["info"]["version"] == description["version"]
    (tmp_path / "openapi.json").write_text(json.dumps(openapi))
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(tmp_path / "openapi.json")]
    command += ["--url", f"http://127.0.0.1:{port}", "--checks", "all", "--no-color"]
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
            done = run_client(installed, "--serve", "--port", port)
            assert done.returncode == 2
            assert f"cannot listen on port {port}: " in done.stderr
            assert "Traceback" not in done.stderr
