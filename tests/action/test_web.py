"""The web action through the built zip: HTTP requests in, HTTP replies out."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.artifact import actionloop
from builder.artifact.smoke import SAMPLE
from builder.base.archive import read_zip
from builder.base.paths import ACTION
from client.local_server import IncomingRequest, web_action_params
from tests.action import test_request
from tests.conftest import base64_of, encoded, interpreter, plain
from tests.support import hostile, zips

PICTURE = SAMPLE.read_bytes()
ESPRESSO = base64_of(SAMPLE)
RED = encoded(plain("red"))
JPEG = {"content-type": "image/jpeg"}
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
FORM_IN_CAPITALS = {"content-type": f"{FORM['content-type'].upper()}; a=b"}
UPLOAD = {"content-type": "multipart/form-data; boundary=x1y2"}
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
    """Send a request; check the reply and return its status and body."""
    content = body.encode() if isinstance(body, str) else body
    request = IncomingRequest(method, target, {"accept": "*/*", **(headers or {})}, content)
    return check_reply(action.run(web_action_params(request, raw)))


def check_reply(answer: Any) -> tuple[int, Any]:
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


def multipart(*parts: tuple[str, bytes], end: bytes = b"--x1y2--\r\n") -> bytes:
    """Return a multipart form; a part is the end of its header, and its content."""
    return b"".join(
        b"--x1y2\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content
        + b"\r\n" for head, content in parts
    ) + end  # fmt: skip


TEXT = "Content-Type: text/plain; charset=utf-8"
FILE = 'name="image"; filename="a \\"cat\\"; b.jpg"\r\nContent-Type: image/jpeg'
NO_FILE = 'name="no"; filename=""\r\nContent-Type: a/b', b""


def file_part(name: str, content: bytes) -> tuple[str, bytes]:
    return f'name="{name}"; filename="{name}.jpg"\r\nContent-Type: image/jpeg', content


def class_names(answered: tuple[int, Any]) -> list[str]:
    status, body = answered
    assert status == 200, body
    return [result["className"] for result in body["results"]]


@both
def test_every_way_to_send_a_picture(action: actionloop.RunningAction, raw: bool) -> None:
    plain_answer = action.run({"image": ESPRESSO})
    for body, headers in (
        (PICTURE, JPEG),
        (PICTURE, {"content-type": "  IMAGE/JPEG  ;  Charset = binary "}),  # as `file -bi` prints
        (PICTURE, {"content-type": "image/png"}),  # its bytes decide
        (PICTURE, {"content-type": "application/octet-stream; charset=utf-8"}),
        (PICTURE, {}),
        (json.dumps({"image": ESPRESSO}), {"content-type": "APPLICATION/JSON; Charset=UTF-8"}),
        (json.dumps({"image": ESPRESSO, "other": "ä"}, ensure_ascii=False), JSON),
        ('{"image": "' + ESPRESSO + '", "other": "ä"}', {"content-type": "application/x+json"}),
        ("image=" + quote(ESPRESSO, safe=""), FORM_IN_CAPITALS),
        ("image=" + ESPRESSO, FORM),  # each "+" becomes a space
        (multipart((FILE, PICTURE)), {"content-type": 'Multipart/Form-Data; boundary="x1y2"'}),
        (multipart(('name="x"; filename="x"', PICTURE)), UPLOAD),
        (multipart(("name=image", ESPRESSO.encode())), UPLOAD),
        (multipart((f"name=image\r\n{TEXT}", ESPRESSO.encode())), UPLOAD),
        (multipart(("name=image\r\nContent-Type: image/jpeg", PICTURE)), UPLOAD),
        (multipart(("name=x; filename*=utf-8''a.jpg", PICTURE)), UPLOAD),
        (multipart((f"{FILE}\r\nContent-Transfer-Encoding: base64", ESPRESSO.encode())), UPLOAD),
        (multipart(('name="comment; filename=x"', "ä".encode()), (FILE, PICTURE)), UPLOAD),
    ):
        status, answer = ask(action, raw, body, headers)
        assert (status, answer) == (200, plain_answer), headers
    assert ask(action, raw, b"", {}, f"/?image={ESPRESSO}") == (200, plain_answer)


@both
def test_options_in_query_path_and_body(action: actionloop.RunningAction, raw: bool) -> None:
    assert len(class_names(ask(action, raw, PICTURE, JPEG, "/?topK=5"))) == 5
    assert len(class_names(ask(action, raw, PICTURE, JPEG, "/topK/5"))) == 5
    assert len(class_names(ask(action, raw, PICTURE, JPEG, "/topK/1/threshold/0?topK=5"))) == 1
    assert class_names(ask(action, raw, PICTURE, JPEG, "/?threshold=0.5&topK=9")) == ["espresso"]
    assert "details" in ask(action, raw, PICTURE, JPEG, "/?details=true")[1]
    assert "details" not in ask(action, raw, PICTURE, JPEG, "/?details=false&other=1")[1]
    body = json.dumps({"image": ESPRESSO, "topK": 2, "details": True})
    assert len(class_names(ask(action, raw, body, JSON, "/?topK=5"))) == 2
    for head, content in (
        ('name="topK"', b"4"),
        (f'name="topK"\r\n{TEXT}\r\nContent-Length: 1', b"4"),
        ("name=topK\r\nContent-Transfer-Encoding: BASE64", b"NA=="),
        ("name=data\r\nContent-Type: application/json", b'{"topK": 4}'),
        ("name=topK\r\nContent-Type: application/json; charset=UTF-8", b'"4"'),
        ('name="topK"; filename=""', b"4"),
    ):
        form = multipart((head, content), (FILE, PICTURE))
        assert len(class_names(ask(action, raw, form, UPLOAD))) == 4


@both
@pytest.mark.parametrize(
    ("status", "text", "body", "headers", "target"),
    [
        (400, "found neither", b"", {}, "/"),
        (400, "expected a JSON object of parameters, found a list", "[]", JSON, "/"),
        (400, "found a string '5x'", PICTURE, JPEG, "/?topK=5x"),
        (400, "topK: expected a whole number", PICTURE, JPEG, "/?topK=%D9%A3"),
        (400, "threshold: expected a number", PICTURE, JPEG, "/?threshold=0.0_1"),
        (400, "found nan", PICTURE, JPEG, "/?threshold=nan"),
        (400, "found a string ''", PICTURE, JPEG, "/?threshold"),
        (400, "true or false, found a string 'yes'", PICTURE, JPEG, "/?details=yes"),
        (400, "path: expected none, or options", PICTURE, JPEG, "/image/AAAA"),
        (400, "without it", "x=1", FORM, "/"),
        (400, "found JSON text as", '{"image":"AAAA"}', FORM, "/"),
        (400, "with a boundary, found none", PICTURE, {"content-type": "multipart/form-data"}, "/"),
        (400, "without its end", multipart((FILE, PICTURE), end=b""), UPLOAD, "/"),
        (400, "found neither", multipart(), UPLOAD, "/"),
        (400, "found none", multipart((FILE, b"")), UPLOAD, "/"),
        (413, "too many pixels", hostile.gif((20000, 5001)), {"content-type": "image/gif"}, "/"),
        (400, "found both", PICTURE, JPEG, "/?image=AAAA"),
        (415, "not a picture", "some text", JPEG, "/"),
        (415, "found JSON text: send it as application/json", '{"image": "AAAA"}', {}, "/"),
        (415, "found base64 of a JPEG: decode it", ESPRESSO, {}, "/"),
        (415, "found 'text/plain'", PICTURE, {"content-type": "text/plain; charset=utf-8"}, "/"),
        (415, "platform treats as binary", PICTURE, {"content-type": "image/x; charset=x"}, "/"),
        (422, "broken JPEG", PICTURE[:5000], JPEG, "/"),
    ],
)  # fmt: skip
def test_status_and_text_of_errors(
    action: actionloop.RunningAction,
    raw: bool,
    status: int,
    text: str,
    body: bytes | str,
    headers: dict[str, str],
    target: str,
) -> None:
    returned, answer = ask(action, raw, body, headers, target)
    assert (returned, text in answer["error"]) == (status, True), answer
    assert len(answer["error"]) < 300


@both
def test_every_file_of_a_form_is_answered(action: actionloop.RunningAction, raw: bool) -> None:
    espresso, red = (action.run({"image": base64_of(each)}) for each in (PICTURE, RED))
    for parts in (
        (file_part("image", PICTURE), file_part("image", RED)),
        (file_part("images", PICTURE), file_part("images", RED)),
        (file_part("a", PICTURE), NO_FILE, file_part("b", RED)),
        (file_part("image", PICTURE), ("name=image", base64_of(RED).encode())),
        (("name=images", ESPRESSO.encode()), file_part("x", RED)),
        (("name=images", json.dumps([ESPRESSO, base64_of(RED)]).encode()),),
    ):
        both_answered = (200, {"predictions": [espresso, red]})
        assert ask(action, raw, multipart(*parts), UPLOAD) == both_answered, parts[0][0]
    single = multipart(file_part("images", PICTURE))
    assert ask(action, raw, single, UPLOAD) == (200, {"predictions": [espresso]})
    broken = multipart(file_part("image", PICTURE), file_part("image", b"no"))
    status, body = ask(action, raw, broken, UPLOAD)
    assert (status, ["error" in each for each in body["predictions"]]) == (200, [False, True])


@both
def test_repeated_fields_of_a_form(action: actionloop.RunningAction, raw: bool) -> None:
    """With `--web true` OpenWhisk itself keeps the last of several fields with one name."""
    red = quote(base64_of(RED), safe="")
    one = action.run({"image": base64_of(RED)})
    if raw:
        for name in ("image", "images"):
            body = f"{name}={red}&{name}={quote(ESPRESSO, safe='')}"
            expected = {"predictions": [one, action.run({"image": ESPRESSO})]}
            assert ask(action, raw, body, FORM) == (200, expected)
    assert ask(action, raw, f"images={red}", FORM) == (200, {"predictions": [one]})
    assert ask(action, raw, b"", {}, f"/?images={red}") == (200, {"predictions": [one]})


def test_malformed_json_is_refused(action: actionloop.RunningAction) -> None:
    """With --web true OpenWhisk itself answers these."""
    for body in ('{"image": ', "[" * 100_000, " ", "\xff", "nul"):
        status, answer = ask(action, True, body, JSON)
        assert (status, answer["error"][:19]) == (400, "body: expected JSON")


@both
def test_other_methods(action: actionloop.RunningAction, raw: bool) -> None:
    accept = {"accept": "application/json"}
    status, description = ask(action, raw, b"", accept, method="GET")
    assert (status, description["health"]) == (200, "ok")
    assert ask(action, raw, b"", accept, method="HEAD") == (200, "")
    assert ask(action, raw, b"", accept, "/favicon.ico", method="GET")[0] == 400
    assert ask(action, raw, b"", method="OPTIONS") == (204, "")
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "BR/EW\n" * 99):
        status, answer = ask(action, raw, PICTURE, JPEG, method=method)
        assert status == 405
        assert "method: expected GET, HEAD, OPTIONS, POST, found" in answer["error"]
    assert "BR/EW" not in action.log()


@both
def test_page_for_browsers(action: actionloop.RunningAction, raw: bool) -> None:
    html = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    answer = action.run(web_action_params(IncomingRequest("GET", "/", html), raw))
    assert check_reply(answer) == (200, (ACTION / "page.html").read_text("utf-8"))
    assert ask(action, raw, b"", html, method="HEAD") == (200, "")
    json_first = {"accept": "application/json, text/html"}
    assert ask(action, raw, b"", json_first, method="GET")[1]["health"] == "ok"
    headers = answer["headers"]
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["referrer-policy"] == "no-referrer"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"].startswith("'sha256-")


def test_internal_error_stays_in_the_log(zip_path: Path, tmp_path: Path) -> None:
    files = {**read_zip(zip_path).files, "action/page.html": b"\xff"}
    broken = zips.write(files, tmp_path / "a.zip")
    with actionloop.start_action(broken, interpreter()) as running:
        params = web_action_params(IncomingRequest("POST", "/", JPEG, PICTURE))
        answer = running.run({**params, "__ow_path": "/topK/1", "topK": {}})
        assert check_reply(answer)[0] == 200  # the path overrides other options
        html = {"accept": "text/html"}
        assert ask(running, False, b"", html, method="GET")[0] == 500
        assert "UnicodeDecodeError" in running.log()


def test_log_has_a_line_per_activation_without_the_payload(zip_path: Path) -> None:
    with actionloop.start_action(zip_path, interpreter()) as fresh:
        ask(fresh, False, PICTURE, JPEG)
        ask(fresh, False, PICTURE[:5000], JPEG)
        ask(fresh, False, method="GET")
        ask(fresh, False, json.dumps({"images": [ESPRESSO, "*"]}), JSON)
        fresh.run({"image": ESPRESSO})
        log = fresh.log()
    lines = re.findall(
        r"^classify (cold|warm) images=(\d) failed=(\d) decode=[\d.]+ms classify=[\d.]+ms "
        r"total=[\d.]+ms(?: init=\d+ms)? rss=\d+MB(?: (.*))?$",
        log,
        re.MULTILINE,
    )
    assert lines == [
        ("cold", "1", "0", "method=POST status=200"),
        ("warm", "1", "1", "method=POST status=422"),
        ("warm", "0", "0", "method=GET status=200"),
        ("warm", "2", "1", "method=POST status=200"),
        ("warm", "1", "0", ""),
    ]
    assert len(log) < 1000


VALUES = test_request.JSON
KINDS = ["image/jpeg", "application/json", UPLOAD["content-type"], "", "text/html"]
KINDS += [FORM["content-type"], "multipart/form-data; boundary=\ud800", "a/b+json", ";;;", "image/"]
PARAMS = st.fixed_dictionaries(
    {"__ow_method": st.sampled_from(["get", "post", "POST", "head", "options"]) | VALUES},
    optional={
        "__ow_headers": VALUES
        | st.fixed_dictionaries(
            {"content-type": st.sampled_from(KINDS) | VALUES},
            optional={"accept": st.sampled_from(["text/html", "*/*"]) | VALUES},
        ),
        "__ow_path": st.sampled_from(["", "/", "/topK/5", "/topK//"]) | VALUES,
        "__ow_query": st.sampled_from(["topK=5", "threshold=NaN&details", "%ff=%"]) | VALUES,
        "__ow_body": VALUES
        | st.binary(max_size=60).map(base64_of)
        | st.binary(max_size=40).map(lambda data: base64_of(multipart((FILE, data))))
        | st.integers(0, 3000).map(lambda length: base64_of(PICTURE[:length]))
        | st.text("-x\r\n:;=\"{}[]", max_size=60),
        **dict.fromkeys(("image", "images", "topK", "threshold", "details"), VALUES),
    },
)  # fmt: skip


@pytest.mark.parametrize("encoded", [False, True])
def test_digitalocean_requests(action: actionloop.RunningAction, encoded: bool) -> None:
    """DigitalOcean passes on raw web events, binary bodies as base64 or byte by byte.

    https://docs.digitalocean.com/products/functions/reference/parameters-responses/#raw-web-events
    """
    form = "image=" + ESPRESSO.replace("+", "%2B")
    for body, headers in (
        (PICTURE, JPEG),
        (json.dumps({"image": ESPRESSO}).encode(), JSON),
        (multipart((FILE, PICTURE)), UPLOAD),
        (form.encode(), FORM),
    ):
        sent = base64.b64encode(body).decode() if encoded else body.decode("latin-1")
        http: dict[str, Any] = {"method": "POST", "path": "", "queryString": "topK=2"}
        params = {"http": {**http, "headers": headers, "body": sent, "isBase64Encoded": encoded}}
        names = class_names(check_reply(action.run(params)))
        assert (names[0], len(names)) == ("espresso", 2), headers
    merged = {"image": ESPRESSO, "http": {"method": "POST", "headers": JSON, "path": "/topK/1"}}
    assert class_names(check_reply(action.run(merged))) == ["espresso"]
    about = {"http": {"method": "GET", "headers": {}, "path": "/"}}
    assert check_reply(action.run(about))[1]["health"] == "ok"
    form_of_text = {**http, "headers": FORM, "body": "\ufffd", "isBase64Encoded": True}
    assert check_reply(action.run({"http": form_of_text}))[0] == 415
    assert "results" in action.run({"image": ESPRESSO, "http": {}})  # it is only called so


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PARAMS)
def test_any_web_parameters_are_answered(
    action: actionloop.RunningAction, params: dict[str, Any]
) -> None:
    answer = action.run(params)
    assert check_reply(answer)[0] in {200, 204, 400, 405, 413, 415, 422}
    json.dumps(answer, allow_nan=False)
