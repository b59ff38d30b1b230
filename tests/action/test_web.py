"""The web action: HTTP in, HTTP out, through the built zip and through the local server."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from action.web import MAX_PAYLOAD
from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.archive import read_zip
from builder.base.paths import ROOT
from client.local_server import IncomingRequest, RequestRefused, web_action_params
from tests.conftest import EACH_PYTHON, HERE, base64_of, encoded, interpreter, plain
from tests.support import zips

PICTURE = SAMPLE.read_bytes()
ESPRESSO = base64_of(SAMPLE)
JPEG = {"content-type": "image/jpeg"}
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
UPLOAD = {"content-type": "multipart/form-data; boundary=x1y2"}
STATUSES = {200, 204, 400, 405, 413, 415, 422}
NO_PATH = re.compile(r"/(tmp|root|usr|home|action|lib)/|Traceback|File \"|\.py\b")

both = pytest.mark.parametrize("raw", [False, True], ids=["true", "raw"])


def ask(
    action: actionloop.RunningAction,
    raw: bool,
    body: bytes | str = b"",
    headers: dict[str, str] | None = None,
    target: str = "/",
    method: str = "POST",
) -> tuple[int, Any]:
    """Status and body; what all answers have in common is checked."""
    content = body.encode() if isinstance(body, str) else body
    request = IncomingRequest(method, target, {"accept": "*/*", **(headers or {})}, content)
    return checked(action.run(web_action_params(request, raw)))


def checked(answer: Any) -> tuple[int, Any]:
    assert set(answer) == {"statusCode", "headers", "body"}
    assert answer["headers"]["x-content-type-options"] == "nosniff"
    assert answer["headers"]["cache-control"]
    status, body = answer["statusCode"], answer["body"]
    if body != "" and not answer["headers"]["content-type"].startswith("text/html"):
        assert answer["headers"]["content-type"] == "application/json"
        assert answer["headers"]["cache-control"] == "no-store"
        assert isinstance(body, dict)
        assert (status >= 400) == (list(body) == ["error"])
    assert not NO_PATH.search(json.dumps(body))
    return status, body


def upload(*parts: tuple[str, bytes], end: bytes = b"--x1y2--\r\n") -> bytes:
    """A multipart form of parts: their headers' attributes, with a type if a file, and content."""
    return b"".join(
        b"--x1y2\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content
        + b"\r\n" for head, content in parts
    ) + end  # fmt: skip


FILE = 'name="image"; filename="a \\"cat\\"; b.jpg"\r\nContent-Type: image/jpeg'


def top(answered: tuple[int, Any]) -> list[str]:
    status, body = answered
    assert status == 200, body
    return [result["className"] for result in body["results"]]


@both
def test_every_way_to_send_a_picture(action: actionloop.RunningAction, raw: bool) -> None:
    plain_answer = action.run({"image": ESPRESSO})
    for body, headers in (
        (PICTURE, JPEG),
        (PICTURE, {"content-type": "IMAGE/JPEG; q=1"}),
        (PICTURE, {"content-type": "image/png"}),  # what it is, its bytes tell
        (PICTURE, {"content-type": "application/octet-stream"}),
        (PICTURE, {}),
        (PICTURE, {**JPEG, "x-require-whisk-auth": "secret"}),  # which OpenWhisk has checked
        (json.dumps({"image": ESPRESSO}), JSON),
        (json.dumps({"image": ESPRESSO, "other": "ä"}, ensure_ascii=False), JSON),
        ('{"image": "' + ESPRESSO + '", "other": "ä"}', {"content-type": "application/x+json"}),
        ("image=" + ESPRESSO.replace("+", "%2B"), FORM),
        (upload((FILE, PICTURE)), UPLOAD),
        (upload(('name="x"; filename="x"', PICTURE)), UPLOAD),
        (upload(("name=image", ESPRESSO.encode())), UPLOAD),
    ):
        status, answer = ask(action, raw, body, headers)
        assert (status, answer) == (200, plain_answer), headers


@both
def test_batch(action: actionloop.RunningAction, raw: bool) -> None:
    red = base64_of(encoded(plain("red")))
    status, body = ask(action, raw, json.dumps({"images": [ESPRESSO, "*", red]}), JSON)
    assert status == 200
    assert ["error" in each for each in body["predictions"]] == [False, True, False]


@both
def test_options(action: actionloop.RunningAction, raw: bool) -> None:
    assert len(top(ask(action, raw, PICTURE, JPEG, "/?topK=5"))) == 5
    assert len(top(ask(action, raw, PICTURE, JPEG, "/topK/5"))) == 5
    assert len(top(ask(action, raw, PICTURE, JPEG, "/topK/1/threshold/0?topK=5"))) == 1
    assert top(ask(action, raw, PICTURE, JPEG, "/?threshold=0.5&topK=9")) == ["espresso"]
    assert "details" in ask(action, raw, PICTURE, JPEG, "/?details=true")[1]
    assert "details" not in ask(action, raw, PICTURE, JPEG, "/?details=false&other=1")[1]
    body = json.dumps({"image": ESPRESSO, "topK": 2, "details": True})
    assert len(top(ask(action, raw, body, JSON, "/?topK=5"))) == 2
    form = upload((FILE, PICTURE), ('name="topK"', b"4"))
    assert len(top(ask(action, raw, form, UPLOAD))) == 4


@both
@pytest.mark.parametrize(
    ("status", "said", "body", "headers", "target"),
    [
        (400, "found neither", b"", {}, "/"),
        (400, "found neither", "{}", JSON, "/"),
        (400, "found both", '{"image": "", "images": []}', JSON, "/"),
        (400, "expected a JSON object of parameters, found a list", "[]", JSON, "/"),
        (400, "found a string '5x'", PICTURE, JPEG, "/?topK=5x"),
        (400, "found 0", PICTURE, JPEG, "/?topK=0"),
        (400, "whole number from 1 to 1", PICTURE, JPEG, "/?topK=" + "9" * 5000),
        (400, "found nan", PICTURE, JPEG, "/?threshold=nan"),
        (400, "found a string ''", PICTURE, JPEG, "/?threshold"),
        (400, "true or false, found a string 'yes'", PICTURE, JPEG, "/?details=yes"),
        (400, "did you mean 'topK'?", PICTURE, JPEG, "/?topk=5"),
        (400, "path: expected none, or options", PICTURE, JPEG, "/topK"),
        (400, "path: expected none, or options", PICTURE, JPEG, "/image/AAAA"),
        (400, "not base64", '{"image": "*"}', JSON, "/"),
        (400, "without it", PICTURE, FORM, "/"),
        (400, "with a boundary, found none", PICTURE, {"content-type": "multipart/form-data"}, "/"),
        (400, "without its end", upload((FILE, PICTURE), end=b""), UPLOAD, "/"),
        (400, "without its end", b"nonsense", UPLOAD, "/"),
        (400, "found neither", upload(), UPLOAD, "/"),
        (400, "found none", upload((FILE, b"")), UPLOAD, "/"),
        (413, "too many pixels", "huge", {"content-type": "image/png"}, "/"),
        (415, "not a picture", "some text", JPEG, "/"),
        (415, "unsupported format", b"II*\x00" + bytes(99), {"content-type": "image/tiff"}, "/"),
        (415, "found 'text/plain'", PICTURE, {"content-type": "text/plain; charset=utf-8"}, "/"),
        (415, "content-type: expected image/", PICTURE, {"content-type": "video/mp4"}, "/"),
        (422, "broken JPEG", PICTURE[:5000], JPEG, "/"),
    ],
)  # fmt: skip
def test_refused(
    action: actionloop.RunningAction,
    raw: bool,
    status: int,
    said: str,
    body: bytes | str,
    headers: dict[str, str],
    target: str,
) -> None:
    if body == "huge":
        picture = bytearray(encoded(plain("red")))
        picture[16:24] = (20000).to_bytes(4, "big") + (5001).to_bytes(4, "big")
        picture[29:33] = _crc(bytes(picture[12:29]))
        body = bytes(picture)
    found, answer = ask(action, raw, body, headers, target)
    assert (found, said in answer["error"]) == (status, True), answer
    assert len(answer["error"]) < 300
    assert top(ask(action, raw, PICTURE, JPEG))[0] == "espresso"


def _crc(data: bytes) -> bytes:
    import zlib

    return zlib.crc32(data).to_bytes(4, "big")


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_every_python(make_zip: Callable[..., Path], imagenet_model: str, python: str) -> None:
    archive = make_zip(python, imagenet_model, provider="wheels")
    with actionloop.start_action(archive, interpreter(python)) as running:
        for raw in (False, True):
            form = upload((FILE, PICTURE), ('name="topK"', b"1"))
            assert top(ask(running, raw, form, UPLOAD, "/?threshold=0.5")) == ["espresso"]
            assert ask(running, raw, method="GET")[1]["health"] == "ok"


def test_a_precompiled_zip(precompiled_path: Path) -> None:
    with actionloop.start_action(precompiled_path, interpreter()) as running:
        assert top(ask(running, False, PICTURE, JPEG, "/topK/1")) == ["espresso"]
        assert ask(running, True, method="GET")[1]["health"] == "ok"
        assert ask(running, True, PICTURE[:5000], JPEG)[0] == 422


def test_malformed_json_in_raw(action: actionloop.RunningAction) -> None:
    """With --web true OpenWhisk itself answers these."""
    for body in ("{", '{"image": ', "[" * 100_000, "", "\xff", "nul"):
        status, answer = ask(action, True, body or " ", JSON)
        assert status == 400
        assert answer["error"].startswith("body: expected JSON")
    with pytest.raises(RequestRefused) as refused:
        web_action_params(IncomingRequest("POST", "/", JSON, b"{"))
    assert refused.value.status == 400


def test_bytes_beyond_the_limit(action: actionloop.RunningAction) -> None:
    """Deployments may allow larger payloads than OpenWhisk's default."""
    body = base64.b64encode(bytes(20 * 2**20 + 1)).decode()
    params = {"__ow_method": "post", "__ow_headers": JPEG, "__ow_path": "", "__ow_body": body}
    status, answer = checked(action.run(params))
    assert (status, "at most 20 MiB" in answer["error"]) == (413, True)


def test_bodies_that_came_as_text(action: actionloop.RunningAction) -> None:
    """A deployment that takes a binary content type for text, byte by byte."""
    for body, headers in ((PICTURE, JPEG), (upload((FILE, PICTURE)), UPLOAD)):
        params = {"__ow_method": "post", "__ow_headers": headers, "__ow_path": ""}
        answer = action.run({**params, "__ow_body": body.decode("latin-1")})
        assert top(checked(answer))[0] == "espresso"
    lossy = PICTURE.decode("utf-8", "replace")
    answer = action.run({**params, "__ow_headers": JPEG, "__ow_body": lossy})
    assert checked(answer)[0] == 415


@both
def test_get_head_options_and_others(action: actionloop.RunningAction, raw: bool) -> None:
    accept = {"accept": "application/json"}
    status, about = ask(action, raw, b"", accept, method="GET")
    assert status == 200
    assert about["health"] == "ok"
    assert about["classes"] >= 1000
    assert about["model"] and about["version"]
    assert about["limits"] == {
        "payloadBytes": 2**20,
        "imageBytes": 20 * 2**20,
        "images": 100,
        "pixels": 10**8,
        "formats": ["JPEG", "PNG", "WebP", "GIF", "BMP"],
    }
    assert ask(action, raw, b"", accept, method="HEAD") == (200, "")
    assert ask(action, raw, b"", accept, "/favicon.ico", method="GET")[0] == 400
    assert ask(action, raw, b"", method="OPTIONS") == (204, "")
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "BR/EW\n" * 99):
        status, answer = ask(action, raw, PICTURE, JPEG, method=method)
        assert status == 405
        assert "method: expected GET, HEAD, OPTIONS, POST, found" in answer["error"]
    assert "BR/EW" not in action.log()


PAGE = "<!doctype html><style>b{}</style><script>let a='<b>'</script><style>\ni{}\n</style>ä"


def with_file(zip_path: Path, target: Path, name: str, content: bytes | None) -> Path:
    """The zip with another content of a file, or without it."""
    files = read_zip(zip_path).files
    del files[name]
    return zips.write(files if content is None else {**files, name: content}, target)


@both
def test_the_page(zip_path: Path, tmp_path: Path, raw: bool) -> None:
    archive = with_file(zip_path, tmp_path / "a.zip", "action/page.html", PAGE.encode())
    html = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    with actionloop.start_action(archive, interpreter()) as running:
        answer = running.run(web_action_params(IncomingRequest("GET", "/", html), raw))
        assert checked(answer) == (200, PAGE)
        assert ask(running, raw, b"", html, method="HEAD") == (200, "")
        assert ask(running, raw, b"", {"accept": "application/json, text/html"}, method="GET")[1][
            "health"
        ]
    headers = answer["headers"]
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["referrer-policy"] == "no-referrer"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == sha256("let a='<b>'")
    assert policy["style-src"] == f"{sha256('b{}')} {sha256(chr(10) + 'i{}' + chr(10))}"


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@both
def test_without_the_page(zip_path: Path, tmp_path: Path, raw: bool) -> None:
    archive = with_file(zip_path, tmp_path / "a.zip", "action/page.html", None)
    with actionloop.start_action(archive, interpreter()) as running:
        status, about = ask(running, raw, b"", {"accept": "text/html"}, method="GET")
    assert (status, about["health"]) == (200, "ok")


def test_a_function_that_could_not_start(zip_path: Path, tmp_path: Path) -> None:
    archive = with_file(zip_path, tmp_path / "a.zip", "model/model.json", None)
    with actionloop.start_action(archive, interpreter()) as running:
        status, answer = ask(running, False, PICTURE, JPEG)
        assert status == 500
        assert answer == running.run({"image": ESPRESSO})
        assert answer["error"].startswith("the function could not start: FileNotFoundError;")
        log = running.log()
    assert log.count("start failed: FileNotFoundError: model/model.json is not in packed.zip") == 2
    assert "Traceback" in log


def test_an_internal_error(zip_path: Path, tmp_path: Path) -> None:
    """What no one foresaw: 500, and the text stays in the log."""
    broken = with_file(zip_path, tmp_path / "a.zip", "action/page.html", b"\xff")
    with actionloop.start_action(broken, interpreter()) as running:
        params = web_action_params(IncomingRequest("POST", "/", JPEG, PICTURE))
        answer = running.run({**params, "__ow_path": "/topK/1", "topK": {}})
        assert checked(answer)[0] == 200  # an option in the path counts more
        html = {"accept": "text/html"}
        assert ask(running, False, b"", html, method="GET")[0] == 500
        assert "UnicodeDecodeError" in running.log()


def test_log_line(zip_path: Path) -> None:
    with actionloop.start_action(zip_path, interpreter()) as fresh:
        ask(fresh, False, PICTURE, JPEG)
        ask(fresh, False, PICTURE[:5000], JPEG)
        ask(fresh, False, method="GET")
        ask(fresh, False, json.dumps({"images": [ESPRESSO, "*"]}), JSON)
        fresh.run({"image": ESPRESSO})
        log = fresh.log()
    lines = re.findall(
        r"^classify (cold|warm) images=(\d) failed=(\d) .* rss=\d+MB(?: (.*))?$", log, re.MULTILINE
    )
    assert lines == [
        ("cold", "1", "0", "method=POST status=200"),
        ("warm", "1", "1", "method=POST status=422"),
        ("warm", "0", "0", "method=GET status=200"),
        ("warm", "2", "1", "method=POST status=200"),
        ("warm", "1", "0", ""),
    ]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
KINDS = ["image/jpeg", "application/json", "multipart/form-data; boundary=x", "", "text/html"]
KINDS += [FORM["content-type"], "multipart/form-data; boundary=\ud800", "a/b+json", ";;;", "image/"]
PARAMS = st.fixed_dictionaries(
    {"__ow_method": st.sampled_from(["get", "post", "POST", "head", "options"]) | VALUES},
    optional={
        "__ow_headers": VALUES
        | st.fixed_dictionaries(
            {},
            optional={
                "content-type": st.sampled_from(KINDS) | VALUES,
                "accept": st.sampled_from(["text/html", "*/*"]) | VALUES,
            },
        ),
        "__ow_path": st.sampled_from(["", "/", "/topK/5", "/topK//"]) | VALUES,
        "__ow_query": st.sampled_from(["topK=5", "threshold=NaN&details", "%ff=%"]) | VALUES,
        "__ow_body": VALUES
        | st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode())
        | st.text("-x\r\n:;=\"{}[]", max_size=60),
        "image": VALUES,
        "images": VALUES,
        "topK": VALUES,
        "threshold": VALUES,
        "details": VALUES,
    },
)  # fmt: skip


def as_digitalocean(params: dict[str, Any], encoded: bool = False) -> dict[str, Any]:
    """The same request in the words of DigitalOcean's Functions (their raw web events).

    https://docs.digitalocean.com/products/functions/reference/parameters-responses/#raw-web-events
    """
    rest = dict(params)
    names = {"method": "method", "headers": "headers", "path": "path"}
    names |= {"body": "body", "query": "queryString"}
    http = {
        theirs: rest.pop(f"__ow_{ours}") for ours, theirs in names.items() if f"__ow_{ours}" in rest
    }
    return {**rest, "http": {**http, "isBase64Encoded": encoded}}


@pytest.mark.parametrize("encoded", [False, True])
def test_as_digitalocean_passes_requests_on(
    action: actionloop.RunningAction, encoded: bool
) -> None:
    form = "image=" + ESPRESSO.replace("+", "%2B")
    for body, headers in (
        (PICTURE, JPEG),
        (json.dumps({"image": ESPRESSO}).encode(), JSON),
        (upload((FILE, PICTURE)), UPLOAD),
        (form.encode(), FORM),
    ):
        sent = base64.b64encode(body).decode() if encoded else body.decode("latin-1")
        http = {"method": "POST", "headers": headers, "path": "", "queryString": "topK=2"}
        params = {"http": {**http, "body": sent, "isBase64Encoded": encoded}}
        names = top(checked(action.run(params)))
        assert (names[0], len(names)) == ("espresso", 2), headers
    merged = {"image": ESPRESSO, "http": {"method": "POST", "headers": JSON, "path": "/topK/1"}}
    assert top(checked(action.run(merged))) == ["espresso"]
    about = {"http": {"method": "GET", "headers": {"accept": "*/*"}, "path": "/"}}
    assert checked(action.run(about))[1]["health"] == "ok"
    other: list[Any] = ["x", {}, None]  # a parameter that is only called so
    for value in other:
        assert "results" in action.run({"image": ESPRESSO, "http": value})


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_digitalocean_form_that_is_no_base64(
    action: actionloop.RunningAction, method: str
) -> None:
    http = {"method": method, "headers": FORM, "path": "", "body": "\ufffd"}
    status, body = checked(action.run({"http": {**http, "isBase64Encoded": True}}))
    assert (status, "error" in body) == ((200, False) if method == "GET" else (415, True)), body


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PARAMS, st.booleans())
def test_any_digitalocean_event_is_answered(
    action: actionloop.RunningAction, params: dict[str, Any], encoded: bool
) -> None:
    answer = action.run(as_digitalocean(params, encoded))
    assert checked(answer) == checked(action.run(params)) or encoded


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PARAMS)
def test_any_web_parameters_are_answered(
    action: actionloop.RunningAction, params: dict[str, Any]
) -> None:
    answer = action.run(params)
    status, _ = checked(answer)
    assert status in STATUSES
    json.dumps(answer, allow_nan=False)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from([JPEG, JSON, UPLOAD, FORM, {}]),
    st.binary(max_size=80)
    | st.binary(max_size=40).map(lambda data: upload((FILE, data)))
    | st.integers(0, 3000).map(lambda length: PICTURE[:length])
    | VALUES.map(lambda value: json.dumps({"image": value}).encode()),
    st.sampled_from(["/", "/?topK=2", "/topK/2", "/%"]) | st.text(max_size=10),
    st.booleans(),
)
def test_any_request_is_answered(
    action: actionloop.RunningAction, headers: dict[str, str], body: bytes, target: str, raw: bool
) -> None:
    try:
        params = web_action_params(IncomingRequest("POST", target, headers, body), raw)
    except RequestRefused:
        return
    assert checked(action.run(params))[0] in STATUSES


def test_after_all_that_a_picture_is_classified(action: actionloop.RunningAction) -> None:
    assert top(ask(action, False, PICTURE, JPEG))[0] == "espresso"
    assert "internal error" not in action.log()


# What OpenWhisk's controller makes of a request, as far as it was read in its sources


def test_parameters_as_openwhisk_makes_them() -> None:
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
    assert body(FORM["content-type"], b"b=1") == {"a": "0", "b": "1"}
    assert body(FORM["content-type"], b"b=1", True) == {"__ow_body": "b=1"}
    assert body("text/plain", "ä".encode()) == {"a": "0", "__ow_body": "ä"}
    assert body("multipart/form-data; boundary=x", b"--x") == {"a": "0", "__ow_body": "LS14"}
    with pytest.raises(RequestRefused, match="OpenWhisk's own"):
        web_action_params(IncomingRequest("POST", "/?__ow_body=x", {}))
    for content in (bytes(MAX_PAYLOAD + 1), bytes(MAX_PAYLOAD * 3 // 4)):  # base64 counts
        with pytest.raises(RequestRefused) as refused:
            web_action_params(IncomingRequest("POST", "/", JPEG, content))
        assert refused.value.status == 413


# The local server


class Server:
    """`python -m action --serve` on a free port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [interpreter(HERE), "-m", "action", "--serve", "--port", "0", *arguments]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (a full pipe would stop it)
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = re.match(r"http://127\.0\.0\.1:(\d+)/ ", line)
        assert found, line
        self.printed: list[str] = []
        self.reader = threading.Thread(
            target=lambda: self.printed.extend(self.process.stdout or ())
        )
        self.reader.start()
        self.port = int(found[1])

    def ask(
        self, method: str, target: str = "/", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body, sent)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        content = answer.read()
        connection.close()
        return answer.status, found, content

    def stop(self) -> tuple[int, str]:
        """As Ctrl-C does; returns the exit status and what was printed."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=20)
        self.reader.join()
        self.errors.seek(0)
        return self.process.returncode, "".join(self.printed) + self.errors.read()


@pytest.fixture(scope="module", params=[(), ("--raw",)], ids=["true", "raw"])
def server(installed: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    running = Server(installed, *request.param)
    try:
        yield running
    finally:
        code, printed = running.stop()
    assert (code, printed.endswith("stopped\n")) == (0, True), printed
    assert "Traceback" not in printed


def test_served(server: Server) -> None:
    status, headers, body = server.ask("POST", "/?topK=1", PICTURE, content_type="image/jpeg")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert json.loads(body)["results"][0]["className"] == "espresso"
    form = upload((FILE, PICTURE), ('name="topK"', b"1"))
    again = server.ask("POST", "/", form, content_type=UPLOAD["content-type"])[2]
    assert again == body
    sent = json.dumps({"image": ESPRESSO, "topK": 1}).encode()
    assert server.ask("POST", "/", sent, content_type="application/json")[2] == body
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


def test_served_to_clients_that_misbehave(server: Server) -> None:
    for request, expected in (
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"GARBAGE\r\n\r\n", b"400"),
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(request)
            assert expected in client.recv(4096).split(b"\r\n")[0]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10):  # says nothing
        assert server.ask("GET")[0] == 200


def test_the_description_is_true(server: Server, tmp_path: Path, thorough: bool) -> None:
    """Schemathesis makes requests, good and bad, of the description, and checks the answers."""
    about = json.loads(server.ask("GET", accept="application/json")[2])
    description = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    assert description["info"]["version"] == about["version"]
    description["components"]["schemas"]["TopK"]["maximum"] = about["classes"]
    (tmp_path / "openapi.json").write_text(json.dumps(description))
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
    made = re.search(r"(\d+) generated", done.stdout)
    assert made and int(made[1]) > (100 if thorough else 60), done.stdout


def test_a_port_in_use(installed: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (str(taken.getsockname()[1]), "99999"):
            done = subprocess.run(
                [interpreter(HERE), "-m", "action", "--serve", "--port", port],
                cwd=installed, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 2
            assert f"cannot listen on port {port}: " in done.stderr
            assert "Traceback" not in done.stderr
