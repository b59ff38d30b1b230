"""The tests' OpenWhisk answers as a real one did, whose answers are in `answers.json`."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.openwhisk import AUTH, OpenWhisk, openwhisk, pairs

PYTHONS = ("3.10", "3.11", "3.12")
# Requests that neither deployments nor clients send.
LEFT_OUT = {"api", "list actions", "delete a package that is not empty"}
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
# The actions of the recording. Where the proxy died with its action, or hung, nothing was answered
# for a minute: here they sleep for as long as this platform waits.
ACTIONS = {
    "rec_seen": SEEN,
    "rec_seenraw": SEEN,
    "rec_secret": SEEN,
    "rec_private": SEEN,
    "rec_raises": "def main(a): raise ValueError('boom')",
    "rec_error": "def main(a): return {'error': 'mine'}",
    "rec_dies": "import os\ndef main(a): os._exit(1)",
    "rec_memory": "import os, time\n"
    "def main(a): os._exit(1) if '__ow_method' in a else time.sleep(1)",
    "rec_slow": "import time\ntime.sleep(1.2)\ndef main(a): return {}",
    "rec_large": "def main(a): return {'x': 'y' * 1100000}",
    "rec_string": "import time\n"
    "def main(a): return 'text' if '__ow_method' not in a else time.sleep(1)",
    "rec_nothttp": "def main(a): return {'results': [1]}",
    "rec_http": "def main(a): return {'statusCode': 422, 'body': {'error': 'mine'},"
    " 'headers': {'content-type': 'application/json', 'x-mine': '1'}}",
    "rec_httperror": "def main(a): return {'error': {'statusCode': 418, 'body': {'error': 'tea'},"
    " 'headers': {'content-type': 'application/json'}}}",
}


@pytest.fixture(scope="module")
def replayed() -> Iterator[dict[str, dict[str, Any]]]:
    """Send each recorded request to a platform like the recorded one; return answers by name."""
    images = {f"python:{each}": f"openwhisk/action-python-v{each}:nightly" for each in PYTHONS}
    images["python:3"] = images["python:3.12"]
    with openwhisk(kinds=images, default="python:3.12") as platform:
        for name, code in ACTIONS.items():
            create(platform, name, code)
        yield {each["name"]: replay(platform, number, each) for number, each in enumerate(RECORDS)}


def create(platform: OpenWhisk, name: str, code: str) -> None:
    annotations: dict[str, Any] = {"web-export": name != "rec_private", "final": True}
    annotations["raw-http"] = name == "rec_seenraw"
    if name == "rec_secret":
        annotations["require-whisk-auth"] = "s3cret"
    content = {
        "exec": {"kind": "python:3.11", "code": code},
        "annotations": pairs(annotations),
        "limits": {"timeout": 1000 if name == "rec_slow" else 60000},
    }
    platform.put(name, content, overwrite=False)


def replay(platform: OpenWhisk, minute: int, record: dict[str, Any]) -> dict[str, Any]:
    """Send a request in a minute of its own, unless it is one too many of a minute."""
    full = record["answer"]["status"] == 429
    platform.clock = lambda: 0.0 if full else 60.0 * (minute + 1)
    platform.minutes[0] = max(platform.minutes[0], 60)
    platform.wait_seconds = 0.1 if record["seconds"] >= 60 else 60
    request = record["request"]
    connection = http.client.HTTPConnection(urlsplit(platform.url).netloc, timeout=60)
    headers = {"Host": "127.0.0.1:3233", **request["headers"]}
    if request["authorization"] != "none":
        key = AUTH if request["authorization"] == "the key" else "a:wrong key"
        headers["Authorization"] = f"Basic {base64.b64encode(key.encode()).decode()}"
    body = expand_body(request["body"], request["path"])
    connection.request(request["method"], request["path"], body or None, headers)
    response = connection.getresponse()
    found = {name.lower(): value for name, value in response.getheaders()}
    content = response.read().decode()
    connection.close()
    for activation in list(platform.activations.values()):
        activation.done.wait(60)
    return {"status": response.status, "headers": found, "body": content}


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
# Values that differ each time.
TIMES = {"updated", "duration", "start", "end", "waitTime", "initTime"}


def comparable(answer: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and body of an answer without ids and times."""
    headers = {name: text for name, text in answer["headers"].items() if name not in FRAMING}
    if "x-openwhisk-activation-id" in headers:
        headers["x-openwhisk-activation-id"] = "an id"
    try:
        body = blank(json.loads(answer["body"]))
    except ValueError:
        body = answer["body"]
    return answer["status"], headers, body


def blank(value: Any) -> Any:
    if isinstance(value, list):
        return [blank(each) for each in value]
    if isinstance(value, dict):
        ids = {"activationId", *TIMES, *(["code"] if "error" in value else [])}
        blanked = {"value"} if value.get("key") in TIMES else ids
        return {key: 0 if key in blanked else blank(each) for key, each in value.items()}
    if isinstance(value, str) and (kinds := re.search(r"Valid values are: (.*)\.", value)):
        return value.replace(kinds[1], ", ".join(sorted(kinds[1].split(", "))))
    return value


def agree(found: dict[str, Any], recorded: dict[str, Any]) -> bool:
    """Return whether two answers are equal; of long bodies only begin and size."""
    cut = re.fullmatch(r"(.*)\.\.\. \((\d+) bytes\)", recorded["body"], re.DOTALL)
    if cut:
        begin = cut[1].replace("X" * 32, "A" * 32)  # what looks like an id was blanked
        same = len(found["body"]) == int(cut[2]) and found["body"].startswith(begin)
        recorded = {**recorded, "body": found["body"] if same else recorded["body"]}
    return comparable(found) == comparable(recorded)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_answer_is_the_recorded_one(
    replayed: dict[str, dict[str, Any]], record: dict[str, Any]
) -> None:
    found, recorded = replayed[record["name"]], record["answer"]
    assert agree(found, recorded), f"{comparable(found)}\n{comparable(recorded)}"
