"""The tests' OpenWhisk answers as a real one did, whose answers are in `answers.json`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from client.local_server import Response
from tests.support.openwhisk import AUTH, OpenWhisk, openwhisk, pairs
from tests.support.server import ask

PYTHONS = ("3.10", "3.11", "3.12")
# Requests that neither deployments nor clients send.
LEFT_OUT = {
    "api",
    "list actions",
    "create again without overwrite",
    "a bad name",
    "no code in PUT",
    "delete a package that is not empty",
}
ANSWERS = json.loads(Path(__file__).with_name("answers.json").read_text("utf-8"))
RECORDS = [record for record in ANSWERS if record["name"] not in LEFT_OUT]
SEEN = """\
def main(a):
    seen = {k: a.get("__ow_" + k) for k in ("method", "headers", "path", "query", "body")}
    body = seen["body"] or ""
    seen["body"] = body[:200]
    seen["others"] = sorted(k for k in a if not k.startswith("__ow_"))
    return {"body": seen}
"""
DIES = "import os\ndef main(a): os._exit(1)"
# The actions of the recording.
ACTIONS = {
    "rec_seen": SEEN,
    "rec_seenraw": SEEN,
    "rec_secret": SEEN,
    "rec_private": SEEN,
    "rec_raises": "def main(a): raise ValueError('boom')",
    "rec_error": "def main(a): return {'error': 'mine'}",
    "rec_dies": DIES,
    "rec_memory": DIES,
    "rec_slow": "import time\ntime.sleep(1.2)\ndef main(a): return {}",
    "rec_large": "def main(a): return {'x': 'y' * 1100000}",
    "rec_string": "def main(a): return 'text'",
    "rec_nothttp": "def main(a): return {'results': [1]}",
    "rec_http": "def main(a): return {'statusCode': 422, 'body': {'error': 'mine'},"
    " 'headers': {'content-type': 'application/json', 'x-mine': '1'}}",
    "rec_httperror": "def main(a): return {'error': {'statusCode': 418, 'body': {'error': 'tea'},"
    " 'headers': {'content-type': 'application/json'}}}",
}


@pytest.fixture(scope="module")
def replayed() -> Iterator[dict[str, Response]]:
    """Send each recorded request to a platform like the recorded one; return answers by name."""
    images = {f"python:{each}": f"openwhisk/action-python-v{each}:nightly" for each in PYTHONS}
    images["python:3"] = images["python:3.12"]
    with openwhisk(kinds=images, default="python:3.12") as platform:
        platform.minutes[0] = 60
        for name, code in ACTIONS.items():
            create(platform, name, code)
        yield {each["name"]: replay(platform, number, each) for number, each in enumerate(RECORDS)}


def create(platform: OpenWhisk, name: str, code: str) -> None:
    annotations: dict[str, Any] = {"web-export": name != "rec_private", "final": True}
    annotations["raw-http"] = name == "rec_seenraw"
    if name == "rec_secret":
        annotations["require-whisk-auth"] = "s3cret"
    content = {
        "exec": {"kind": "python:3.11", "code": code, "binary": False},
        "annotations": pairs(annotations),
        "limits": {"timeout": 1000 if name == "rec_slow" else 60000},
    }
    platform.put(name, content)


def replay(platform: OpenWhisk, minute: int, record: dict[str, Any]) -> Response:
    """Send a request in a minute of its own, unless it is one too many of a minute.

    Where the real proxy died with its action, or hung, nothing was answered for a minute.
    """
    full = record["answer"]["status"] == 429
    platform.clock = lambda: 0.0 if full else 60.0 * (minute + 1)
    platform.wait_seconds = 0 if record["seconds"] >= 60 else 60
    request = record["request"]
    headers = {"Host": "127.0.0.1:3233", **request["headers"]}
    if request["authorization"] != "none":
        key = AUTH if request["authorization"] == "the key" else "a:wrong key"
        headers["Authorization"] = f"Basic {base64.b64encode(key.encode()).decode()}"
    body = expand_body(request["body"], request["path"]) or None
    port = urlsplit(platform.url).port or 0
    return ask(port, request["method"], request["path"], body, headers)


def expand_body(text: str, path: str) -> bytes:
    """Return a recorded body; of large ones the record has the size."""
    if code := re.fullmatch(r"exec.code of (\d+) characters", text):
        execution = {"kind": "python:3.11", "code": "A" * int(code[1]), "binary": True}
        return json.dumps({"exec": execution}).encode()
    if size := re.fullmatch(r"(\d+) bytes", text):
        if "/web/" in path:
            return b"\xff" * int(size[1])
        return b'{"x":"' + b"y" * (int(size[1]) - 8) + b'"}'
    return text.encode()


# Headers that depend on how a server frames its answer, not on the platform.
FRAMING = {"content-length", "connection", "date", "server"}


def normalize(status: int, headers: dict[str, str], content: str) -> str:
    """Return an answer as text without ids, times and what depends on a server's framing."""
    headers = {name: text for name, text in headers.items() if name not in FRAMING}
    body: Any = content
    with suppress(ValueError):
        body = json.loads(content)
    text = json.dumps([status, headers, body], sort_keys=True)
    text = re.sub(r'("(?:updated|duration|start|end)": |Time", "value": )\d+', r"\g<1>0", text)
    # In recordings, what looks like an id is X; the kinds are in no order.
    text = re.sub(r"[0-9a-fAX]{32}", "an id", text)
    kinds = re.search(r"Valid values are: (.*)\.", text)
    return text.replace(kinds[1], ", ".join(sorted(kinds[1].split(", ")))) if kinds else text


def assert_agree(found: Response, recorded: dict[str, Any]) -> None:
    """Compare an answer with a recorded one; of long bodies begin and size were recorded."""
    content = found.content.decode()
    if cut := re.fullmatch(r"(.*)\.\.\. \(\d+ bytes\)", recorded["body"], re.DOTALL):
        content = f"{content[: len(cut[1])]}... ({len(content)} bytes)"
    status, headers, body = (recorded[key] for key in ("status", "headers", "body"))
    assert normalize(found.status, found.headers, content) == normalize(status, headers, body)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_answer_is_the_recorded_one(replayed: dict[str, Response], record: dict[str, Any]) -> None:
    assert_agree(replayed[record["name"]], record["answer"])
