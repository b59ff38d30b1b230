"""`deploy` and `undeploy`: a zip onto a platform on loopback that runs it for real."""

from __future__ import annotations

import base64
import io
import json
import re
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from playwright.sync_api import Browser, expect

from builder import cli
from builder.artifact.memory import estimate_early
from builder.artifact.smoke import SAMPLE
from builder.base import environments, runtime_images
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from builder.deploy import credentials, verify
from builder.deploy.python_kinds import PythonKinds
from client.local_server import IncomingRequest, Response
from tests.action.test_page import Visit
from tests.conftest import HERE, at_hand, base64_of, encoded, plain
from tests.support.models import ColourModel
from tests.support.openwhisk import AUTH, OpenWhisk, Respond, openwhisk, pairs, values_of
from tests.support.server import make_certificate

KIND = f"python:{HERE}"
APACHE = f"openwhisk/action-python-v{HERE}:nightly"
SERVERLESS = f"apache/openserverless-runtime-python:v{HERE}-2506091954"
SECRET = "require-whisk-auth"
SAME = "as the zip answered on this machine"


class Run(NamedTuple):
    """What a command printed; `err` without the line breaks that a terminal's width makes."""

    out: str
    err: str

    @property
    def deployment(self) -> dict[str, Any]:
        deployment: dict[str, Any] = json.loads(self.out)["deployment"]
        return deployment


Command = Callable[..., Run]


@pytest.fixture
def platform() -> Iterator[OpenWhisk]:
    with openwhisk(kinds={KIND: APACHE}) as running:
        yield running


@pytest.fixture(scope="module")
def archive(colour_zip: Callable[..., Path]) -> Path:
    return colour_zip(ColourModel("uint8"))


def write_properties(path: Path, platform: OpenWhisk, auth: str = AUTH) -> Path:
    path.write_text(f"APIHOST={platform.url}\nAUTH={auth}\nNAMESPACE=_\n")
    return path


@pytest.fixture
def build_zip(
    platform: OpenWhisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Command]:
    """The command of a user of that platform, who has set up `wsk`; in this process: quick."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("WSK_CONFIG_FILE", str(write_properties(tmp_path / "wskprops", platform)))
    monkeypatch.setattr(environments, "is_inside", lambda name: True)
    ours = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path, status: int = 0, **environment: str) -> Run:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as more:
            for name, value in environment.items():
                more.setenv(name, value)
            found = cli.main([*map(str, arguments)])
        out, err = capsys.readouterr()
        assert found == status, (arguments, err)
        assert AUTH.partition(":")[2] not in out + err
        return Run(out, " ".join(err.split()))

    yield run
    signal.signal(signal.SIGTERM, ours)


def refuse(platform: OpenWhisk, *refusals: tuple[str, int]) -> None:
    """Let a gateway answer one request for each pattern of method and path with a status."""
    waiting = list(refusals)

    def gateway(request: IncomingRequest, respond: Respond) -> Response:
        for pattern, status in waiting:
            if re.match(pattern, f"{request.method} {request.target}"):
                waiting.remove((pattern, status))
                return Response(status, {}, b'{"error": "by the gateway"}')
        return respond(request)

    platform.gateway = gateway


def test_zip_is_deployed_invoked_and_deleted(
    build_zip: Command, platform: OpenWhisk, archive: Path
) -> None:
    done = build_zip("deploy", archive, "--json")
    deployment = done.deployment
    url = f"{platform.url}/api/v1/web/guest/default/classify"
    assert (deployment["url"], deployment["created"], deployment["agrees"]) == (url, True, True)
    assert deployment["kind"] == KIND
    assert deployment["init_ms"] > 0
    assert url in done.err
    document = platform.actions["classify"]
    made = {"web-export": True, "raw-http": False, "final": True, "provide-api-key": False}
    assert values_of(document["annotations"]) == {**made, "exec": KIND}
    assert document["limits"]["timeout"] == 60_000
    answer = requests.post(url, SAMPLE.read_bytes(), headers={"content-type": "image/jpeg"})
    assert answer.json()["results"] == deployment["results"]
    build_zip("undeploy", "classify")
    assert platform.actions == {}
    assert "no action classify" in build_zip("undeploy", "classify", status=1).err


def test_page_answers_at_the_printed_address(
    build_zip: Command, archive: Path, browser: Browser
) -> None:
    visit = Visit(browser, build_zip("deploy", archive, "--no-smoke", "--json").deployment["url"])
    visit.choose(encoded(plain("blue")), "blue.png")
    expect(visit.status).to_have_text(re.compile(r"^blue, \d+\.\d\s?%$"), timeout=60_000)
    assert visit.problems == []
    visit.page.context.close()


def test_update_keeps_other_settings(
    build_zip: Command, platform: OpenWhisk, archive: Path
) -> None:
    annotations = {"web-export": True, "raw-http": True, SECRET: "open sesame", "own": "mine"}
    limits = {"memory": 384, "timeout": 30_000, "logs": 3, "concurrency": 5}
    platform.packages["pictures"] = {"threshold": 0.001}
    first: dict[str, Any] = {
        "exec": {"kind": KIND, "code": ""},
        "annotations": pairs(annotations),
        "parameters": pairs({"topK": 2}),
        "limits": limits,
    }
    platform.put("pictures/what", first)
    call = ["deploy", archive, "--name", "pictures/what", "--json"]
    done = build_zip(*call, "--param", 'note={"a": 1}')
    deployment = done.deployment
    assert (deployment["created"], deployment["version"]) == (False, "0.0.2")
    assert (deployment["secured"], deployment["memory"]) == (True, 384)
    assert deployment["bound"] == ["threshold", "topK", "note"]
    assert (len(deployment["results"]), deployment["agrees"]) == (2, True)
    assert deployment["url"].endswith("/web/guest/pictures/what")
    assert "open sesame" not in done.out + done.err
    document = platform.actions["pictures/what"]
    kept = {**annotations, "provide-api-key": False, "exec": KIND}
    assert values_of(document["annotations"]) == kept
    assert values_of(document["parameters"]) == {"topK": 2, "note": {"a": 1}}
    assert document["limits"] == {**limits, "concurrency": 1}
    changed = build_zip(*call, "--web", "no", "--memory", "256", "--timeout", "9000")
    document = platform.actions["pictures/what"]
    assert values_of(document["annotations"])["web-export"] is False
    assert (document["limits"]["memory"], document["limits"]["timeout"]) == (256, 9000)
    assert "it is no web action" in changed.err


def test_web_options_become_annotations(
    build_zip: Command, platform: OpenWhisk, archive: Path, tmp_path: Path
) -> None:
    """The secret is given in five ways; only the one on the command line is warned of."""
    (tmp_path / "secret").write_text("open sesame\n")
    wanted: list[tuple[tuple[str, ...], Any]] = [
        (("--web", "raw"), None),
        (("--web-secure", f"@{tmp_path / 'secret'}"), "open sesame"),
        (("--web-secure", "env:WORD"), "mellon"),
        (("--web-secure", "plain word"), "plain word"),
        (("--web-secure", "true"), int),
        (("--web-secure", "false", "--web", "true"), None),
    ]
    for options, secret in wanted:
        done = build_zip("deploy", archive, "--no-smoke", "--name", "a", *options, WORD="mellon")
        annotations = values_of(platform.actions["a"]["annotations"])
        found: Any = annotations.get(SECRET)
        assert found == secret or (secret is int and 0 <= found < 2**53)
        assert annotations["raw-http"] is ("false" not in options)
        assert ("processes here can read the secret" in done.err) is ("plain word" in options)
    for given, text in (("@/none", "cannot read /none"), ("env:NONE", "a secret in env:NONE")):
        assert text in build_zip("deploy", archive, "--web-secure", given, status=2).err


@pytest.fixture
def colours(colour_labels: Path, tmp_path: Path) -> list[str | Path]:
    """Options that build a small zip."""
    model = ColourModel("uint8").write(tmp_path / "colours.tflite")
    files: list[str | Path] = ["--labels", colour_labels, "--output", tmp_path / "a.zip"]
    return ["--model", model, *files, "--runtime", at_hand(), "--no-keep"]


def exec_env(platform: OpenWhisk) -> str:
    """Return the OW_EXECUTION_ENV that the deployed zip names; empty if it is portable."""
    code = base64.b64decode(platform.actions["classify"]["exec"]["code"])
    with zipfile.ZipFile(io.BytesIO(code)) as content:
        return content.read("exec.env").decode() if "exec.env" in content.namelist() else ""


def test_zip_is_built_for_a_kind_of_the_host(
    build_zip: Command, platform: OpenWhisk, colours: list[str | Path]
) -> None:
    """Precompiled where the image is Apache's, unless the image refuses it."""
    assert SAME in build_zip("deploy", *colours).err
    document = platform.actions["classify"]
    assert document["exec"]["kind"] == KIND
    assert exec_env(platform) == f"openwhisk/action-python-v{HERE}"
    size = Path(colours[1]).stat().st_size
    assert document["limits"]["memory"] >= estimate_early(at_hand(), size)
    platform.environments[KIND] = "another/image"
    assert "building a portable one" in build_zip("deploy", *colours).err
    assert exec_env(platform) == ""
    refused = build_zip("deploy", *colours, "--precompiled", status=1)
    assert "Expected exec.env should start with" in refused.err  # of the activation's log
    assert exec_env(platform) == ""


def test_openserverless_gets_a_portable_zip_unless_told(
    build_zip: Command, platform: OpenWhisk, colours: list[str | Path], tmp_path: Path
) -> None:
    platform.kinds = {KIND: SERVERLESS, "python:3": SERVERLESS}
    env = runtime_images.images_of_kind(KIND)[-1].execution_env
    platform.environments = dict.fromkeys(platform.kinds, env)
    for options, found in (((), ""), (("--precompiled",), env), (("--portable",), "")):
        done = build_zip("deploy", *colours, "--kind", "python:3", *options)
        assert exec_env(platform) == found
        assert ("an upgrade of OpenServerless's image" in done.err) is not bool(options)
    precompiled = tmp_path / "p.zip"
    apache = ("--precompiled", "--execution-env", "openwhisk/action-python")
    build_zip(*colours, "--output", precompiled, "--python", HERE, *apache)
    refused = build_zip("deploy", precompiled, status=1)
    assert f"precompiled for openwhisk/action-python, {KIND}" in refused.err
    platform.kinds = {"python:3": f"own/python-v{HERE}", KIND: "own/python"}
    refused = build_zip("deploy", *colours, "--precompiled", status=1)
    assert "pass it with --execution-env" in refused.err


def test_nothing_is_deployed_in_place_of_the_default_model(
    build_zip: Command, platform: OpenWhisk, tmp_path: Path
) -> None:
    """A plain build takes another model if MobileNet v1 cannot be downloaded."""
    if (ROOT / "model" / "mobilenet_v1.tflite").exists():
        pytest.skip("mobilenet_v1 is there already")
    closed = "http://127.0.0.1:9"
    proxies = {"https_proxy": closed, "http_proxy": closed, "no_proxy": "127.0.0.1"}
    call = ["deploy", "--output", tmp_path / "a.zip", "--no-keep"]
    assert "mobilenet_v1 could not be downloaded" in build_zip(*call, status=1, **proxies).err
    assert platform.actions == {}


def test_wrong_host_key_or_name_fails_before_the_build(
    build_zip: Command, platform: OpenWhisk, tmp_path: Path
) -> None:
    """Each in a second, and nothing is written."""
    output = tmp_path / "no.zip"
    wrong = {"WSK_CONFIG_FILE": str(write_properties(tmp_path / "w", platform, AUTH[:-1] + "x"))}
    none = {"WSK_CONFIG_FILE": "/dev/null"}
    no_host = "expected an API host, found none"
    cases: list[tuple[str, dict[str, str], int, str]] = [
        ("", wrong, 1, "does not accept the key"),
        ("", none, 2, no_host),
        ("--apihost http://127.0.0.1:1", {}, 1, "cannot be reached"),
        ("--apihost a/b", {}, 2, "--apihost: expected a host"),
        ("--apihost https://u:p@a", {}, 2, "--apihost: expected a host"),
        ("--apihost ftp://a:port", {}, 2, "--apihost: expected a host"),
        ("--auth nonsense", {}, 2, "--auth: expected USER:PASSWORD"),
        ("--name a/b/c", {}, 2, "[/NAMESPACE/][PACKAGE/]ACTION"),
        ("--name /other/classify", {}, 1, "the key may not do this"),
        ("--name none/classify", {}, 1, "has no package none"),
        ("--name a.json", {}, 2, "a web action cannot be called a.json"),
        ("--kind python:2", {}, 1, f"no kind python:2; it has {KIND}"),
        ("--memory 1024", {}, 2, "--memory: expected 128 to 160, the key's limits"),
        ("--timeout 70000", {}, 2, "--timeout: expected 100 to 50000, the key's"),
        ("--runtime wheels", {}, 1, "160 MB at most, such a zip needs 256 MB"),
        ("--runtime wheels --memory 128", {}, 1, "needs 256 MB, found 128"),
        ("--name other", {}, 1, "is an action of kind nodejs:20"),
    ]
    platform.max_memory, platform.max_timeout = 160, 50_000
    refuse(platform, *[("GET .*/limits", 404)] * 20)  # an older host: its own are at `/`
    platform.actions["other"] = {"exec": {"kind": "nodejs:20"}, "parameters": []}
    if HERE != "3.12":
        cases.append(("--python 3.12", {}, 1, f"it has {KIND}"))
    for arguments, environment, status, text in cases:
        began = time.monotonic()
        call = ["deploy", "--output", output, *arguments.split()]
        assert text in build_zip(*call, status=status, **environment).err
        assert time.monotonic() - began < 2
    assert no_host in build_zip("undeploy", "classify", status=2, **none).err
    assert not output.exists()
    assert {method for method, _ in platform.requests} == {"GET"}


@pytest.mark.parametrize("web", ["true", "no"])
def test_refusals_are_explained(
    build_zip: Command,
    platform: OpenWhisk,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    web: str,
) -> None:
    """The next calendar minute is waited for once."""
    monkeypatch.setitem(verify.RETRY_SECONDS, 429, 0.1)
    for refusals, status, text in (
        ([("PUT", 413)], 1, "the action is too large for the platform: by the gateway (HTTP 413)"),
        ([("PUT", 500)], 1, f"{platform.url} failed for classify: by the gateway (HTTP 500)"),
        ([("PUT", 307)], 1, "(HTTP 307)"),
        ([("POST", 429), ("GET .*/activations/", 404)], 0, "HTTP 429; trying again in 0 s"),
        ([("POST", 429)] * 2, 1, "answered the sample picture with HTTP 429: by the gateway"),
    ):
        refuse(platform, *refusals)
        done = build_zip("deploy", archive, "--no-smoke", "--web", web, status=status)
        assert text in done.err


def test_unusual_hosts(build_zip: Command, platform: OpenWhisk, archive: Path) -> None:
    """No documents in answers, a page of its own at `/`, short times, an image that is pulled."""

    def gateway(request: IncomingRequest, respond: Respond) -> Response:
        if request.target == "/":
            return Response(302, {"location": "https://console.example/"}, b"")
        response = respond(request)
        if request.method == "PUT":
            assert request.headers["accept"] == "*/*"  # or the answer would be 406
            return Response(200, {"content-type": "text/plain; charset=UTF-8"}, b"OK")
        return Response(204, {}, b"") if request.method == "DELETE" else response

    platform.gateway, platform.max_timeout, platform.wait_seconds = gateway, 40_000, 0
    for web in ("true", "no"):
        done = build_zip("deploy", archive, "--web", web)
        assert "the platform may be pulling the image" in done.err
        assert SAME in done.err
    document = platform.actions["classify"]
    assert (document["exec"]["kind"], document["limits"]["timeout"]) == (KIND, 40_000)
    build_zip("undeploy", "classify")
    assert platform.actions == {}


def test_earlier_version_is_put_back(
    build_zip: Command, platform: OpenWhisk, archive: Path
) -> None:
    """With its own settings; a new action is deleted."""
    platform.packages["p"] = {"threshold": 0.001}
    new = ["deploy", archive, "--no-smoke"]
    build_zip(*new, "--name", "p/a", "--param", "topK=2", "--web", "no")
    before = platform.actions["p/a"]
    update = [*new, "--name", "p/a", "--memory", "512", "--web", "true", "--web-secure", "true"]
    update += ["--param", "note=1"]
    refuse(platform, ("POST", 500))
    assert "version 0.0.1 was put back" in build_zip(*update, status=1).err
    after = platform.actions["p/a"]
    assert after == {**before, "version": "0.0.3", "updated": after["updated"]}
    refuse(platform, ("POST", 500))
    build_zip(*update, "--keep-broken", status=1)
    assert platform.actions["p/a"]["limits"]["memory"] == 512
    refuse(platform, ("POST", 500), ("DELETE", 503))
    assert "could not be put back: " in build_zip(*new, status=1).err
    assert values_of(platform.actions.pop("classify")["annotations"])["final"] is True
    refuse(platform, ("POST", 500))
    assert "was deleted (see --keep-broken)" in build_zip(*new, status=1).err
    assert "classify" not in platform.actions


def test_different_answer_fails_the_deployment(
    build_zip: Command, platform: OpenWhisk, archive: Path
) -> None:
    """Something between swaps the colours of pictures."""
    body = json.dumps({"image": base64_of(encoded(plain("blue")))}).encode()

    def gateway(request: IncomingRequest, respond: Respond) -> Response:
        return respond(request._replace(body=body) if request.method == "POST" else request)

    platform.gateway = gateway
    done = build_zip("deploy", archive, "--web", "no", status=1)
    assert "answers differently from the zip here" in done.err


def test_kind_follows_the_hosts_default_and_images() -> None:
    image = "x/openserverless-runtime-python:v3.12-1"
    listed = [{"kind": "python:3", "image": image, "default": True}, {"kind": "python:3.10"}]
    kinds = PythonKinds("https://host", {"python": listed})
    assert kinds.sort_pythons(["3.10", "3.11", "3.12"]) == ["3.12", "3.10", "3.11"]
    assert kinds.choose(["3.12"]).name == "python:3"
    assert kinds.choose(["3.11", "3.10"]).name == "python:3.10"
    with pytest.raises(BuildError, match=r"no kind for Python 3\.11; it has python:3, python:3.10"):
        kinds.choose(["3.11"])
    with pytest.raises(BuildError, match=r"python:3 of .* runs Python 3\.12, the zip is for 3\.11"):
        kinds.choose(["3.11"], "python:3")


def test_host_and_key_are_found_as_by_wsk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_host = partial(credentials.find_host, Console(quiet=True))
    (tmp_path / ".wskprops").write_text(
        "# mine\nAPIHOST=https://whisk.example/ # here\n  AUTH=a:b\nNAMESPACE=ns\n"
        "APIVERSION=v2\nAUTH=c:d=e\nAUTH = f:g\nauth=h:i\n#AUTH=j:k\nnonsense\n"
    )
    for name in ("WSK_CONFIG_FILE", "WHISK_AUTH", "WHISK_APIHOST", "WHISK_APIVERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    host = find_host()
    assert (host.url, host.auth, host.version) == ("https://whisk.example", "a:b", "v2")
    assert host.source == str(tmp_path / ".wskprops")
    assert "a:b" not in repr(host)
    for name, value in (("AUTH", "l:m"), ("APIHOST", "other.example"), ("APIVERSION", "v3")):
        monkeypatch.setenv(f"WHISK_{name}", value)
    host = find_host()
    assert (host.url, host.auth, host.version) == ("https://other.example", "l:m", "v3")
    assert host.source == "WHISK_AUTH"
    (tmp_path / "key").write_text("n:o\n")
    for given, key in (("x:y", "x:y"), (f"@{tmp_path / 'key'}", "n:o"), ("env:WHISK_AUTH", "l:m")):
        host = find_host("http://127.0.0.1:3233/", given)
        assert (host.url, host.auth, host.source) == ("http://127.0.0.1:3233", key, "--auth")
    monkeypatch.delenv("WHISK_AUTH")
    monkeypatch.setenv("WSK_CONFIG_FILE", "")
    with pytest.raises(BuildError, match="expected a key"):
        find_host()


def test_certificate_is_verified_as_told(
    build_zip: Command, tmp_path: Path, archive: Path, platform: OpenWhisk
) -> None:
    """REQUESTS_CA_BUNDLE counts for neither --insecure nor --ca."""
    own = make_certificate(tmp_path, "IP:127.0.0.1")
    other = make_certificate(tmp_path / "..", "DNS:other.example")
    bundle = {"REQUESTS_CA_BUNDLE": str(other)}
    with openwhisk(kinds=platform.kinds, certificate=own) as secured:
        call = ["deploy", archive, "--no-smoke", "--apihost", secured.url]
        for options, shown in (
            (("--insecure",), "curl -k -H"),
            (("--ca", own), f"curl --cacert {own} -H"),
        ):
            done = build_zip(*call, *options, **bundle)
            assert shown in done.err
            assert f"{options[0]}" in done.err.rpartition("python3 -m action")[2]
        assert "signed certificate" in build_zip(*call, status=1, **bundle).err
