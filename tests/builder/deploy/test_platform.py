"""`deploy` and `undeploy`: a zip onto a platform on loopback that runs it for real."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from playwright.sync_api import Browser, expect

from builder import cli
from builder.artifact.smoke import SAMPLE
from builder.base import environments
from builder.base.console import Console
from builder.base.errors import BuildError
from builder.base.paths import ROOT
from builder.deploy import credentials
from builder.deploy.openwhisk import PlatformInfo, parse_name
from builder.deploy.upload import Kind, match_kind
from tests.action.test_page import Visit
from tests.conftest import HERE, at_hand, base64_of, encoded, plain
from tests.support.models import ColourModel
from tests.support.openwhisk import AUTH, Action, Activation, OpenWhisk, openwhisk, values_of


class Run(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def platform() -> Iterator[OpenWhisk]:
    with openwhisk(kinds={f"python:{HERE}": f"openwhisk/action-python-v{HERE}:nightly"}) as running:
        yield running


@pytest.fixture(scope="module")
def archive(colour_zip: Callable[..., Path]) -> Path:
    return colour_zip(ColourModel("uint8"))


def properties(folder: Path, platform: OpenWhisk, auth: str = AUTH) -> Path:
    path = folder / "wskprops"
    path.write_text(f"APIHOST={platform.url}\nAUTH={auth}\nNAMESPACE=_\n")
    return path


Command = Callable[..., Run]


@pytest.fixture
def build_zip(
    platform: OpenWhisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Command]:
    """The command of a user of that platform, who has set up `wsk`; in this process: quick."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("WSK_CONFIG_FILE", str(properties(tmp_path, platform)))
    monkeypatch.setattr(environments, "is_inside", lambda name: True)
    ours = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path, **environment: str) -> Run:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as more:
            for name, value in environment.items():
                more.setenv(name, value)
            try:
                status = cli.main([*map(str, arguments)])
            except SystemExit as end:  # argparse's
                status = int(end.code or 0)
        return without_secrets(status, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, ours)


@pytest.fixture
def typed(platform: OpenWhisk, tmp_path: Path) -> Command:
    """The same in a process of its own."""
    path = properties(tmp_path, platform)

    def run(*arguments: str | Path) -> Run:
        done = subprocess.run(
            [sys.executable, "build_zip.py", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "WSK_CONFIG_FILE": str(path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return without_secrets(done.returncode, done.stdout, done.stderr)

    return run


def without_secrets(status: int, out: str, err: str) -> Run:
    assert "Traceback" not in err, err
    assert AUTH.partition(":")[2] not in out + err
    return Run(status, out, err)


def flat(text: str) -> str:
    """Without the line breaks that a terminal's width makes."""
    return " ".join(text.split())


def test_zip_is_deployed_invoked_and_deleted(
    typed: Command, platform: OpenWhisk, archive: Path
) -> None:
    done = typed("deploy", archive, "--json")
    assert done.status == 0, done.err
    deployment = json.loads(done.out)["deployment"]
    url = f"{platform.url}/api/v1/web/guest/default/classify"
    assert (deployment["url"], deployment["created"], deployment["agrees"]) == (url, True, True)
    assert deployment["kind"] == f"python:{HERE}"
    assert deployment["init_ms"] > 0
    assert url in done.err
    document = platform.actions["classify"]
    made = {"web-export": True, "raw-http": False, "final": True, "provide-api-key": False}
    assert document.annotations == made
    assert document.limits["timeout"] == 60_000
    answer = requests.post(url, SAMPLE.read_bytes(), headers={"content-type": "image/jpeg"})
    assert answer.json()["results"] == deployment["results"]
    page = requests.get(url, headers={"accept": "text/html"})
    assert (page.status_code, "<!doctype html>" in page.text.lower()) == (200, True)
    gone = typed("undeploy", "classify")
    assert gone.status == 0, gone.err
    assert platform.actions == {}
    again = typed("undeploy", "classify")
    assert again.status == 1
    assert "no action classify" in flat(again.err)


def test_page_answers_at_the_printed_address(
    build_zip: Command, platform: OpenWhisk, archive: Path, browser: Browser
) -> None:
    """In Chromium, under the address that was printed; cold and warm."""
    done = build_zip("deploy", archive, "--no-smoke", "--json")
    assert done.status == 0, done.err
    visit = Visit(browser, json.loads(done.out)["deployment"]["url"])
    for colour in ("blue", "red"):
        visit.choose(encoded(plain(colour)), f"{colour}.png", "image/png")
        pattern = re.compile(rf"^{colour}, \d+\.\d %$")
        expect(visit.status).to_have_text(pattern, timeout=60_000)  # the first one is cold
    assert visit.problems == []
    visit.page.context.close()


def test_update_keeps_other_settings(
    build_zip: Command, platform: OpenWhisk, archive: Path
) -> None:
    first: dict[str, Any] = {
        "exec": {"kind": f"python:{HERE}", "code": "IyBub3RoaW5nCg=="},
        "annotations": [
            {"key": "web-export", "value": True},
            {"key": "raw-http", "value": True},
            {"key": "require-whisk-auth", "value": "open sesame"},
            {"key": "description", "value": "mine"},
        ],
        "parameters": [{"key": "topK", "value": 2}],
        "limits": {"memory": 384, "timeout": 30_000, "logs": 3},
    }
    platform.packages["pictures"] = {}
    platform.put("pictures/what", first, overwrite=False)
    done = build_zip("deploy", archive, "--name", "pictures/what", "--json")
    assert done.status == 0, done.err
    deployment = json.loads(done.out)["deployment"]
    assert (deployment["created"], deployment["version"]) == (False, "0.0.2")
    assert (deployment["secured"], deployment["memory"]) == (True, 384)
    assert deployment["url"].endswith("/web/guest/pictures/what")
    assert "open sesame" not in done.out + done.err
    document = platform.actions["pictures/what"]
    assert document.annotations == {**values_of(first["annotations"]), "provide-api-key": False}
    assert document.parameters == values_of(first["parameters"])
    assert document.limits == {**first["limits"], "concurrency": 1}
    changed = build_zip("deploy", archive, "--name", "pictures/what", "--web", "no")
    assert changed.status == 0, changed.err
    assert platform.actions["pictures/what"].annotations["web-export"] is False
    assert "it is no web action" in flat(changed.err)


@pytest.mark.parametrize("options", [("--web", "raw"), ("--web-secure", "open sesame")])
def test_web_options_become_annotations(
    build_zip: Command, platform: OpenWhisk, archive: Path, options: tuple[str, ...]
) -> None:
    done = build_zip("deploy", archive, "--name", "/guest/a-b", *options)
    assert done.status == 0, done.err
    annotations = platform.actions["a-b"].annotations
    assert annotations["raw-http"] is (options[1] == "raw")
    assert annotations.get("require-whisk-auth") == (None if options[1] == "raw" else options[1])


def test_zip_is_built_for_a_kind_of_the_host(
    build_zip: Command, platform: OpenWhisk, colour_labels: Path, tmp_path: Path
) -> None:
    """From a model to an answer in one command; the host's one kind decides the Python."""
    model = ColourModel("uint8").write(tmp_path / "colours.tflite")
    options = ["--model", model, "--labels", colour_labels, "--runtime", at_hand(), "--no-keep"]
    done = build_zip("deploy", *options, "--output", tmp_path / "a.zip")
    assert done.status == 0, done.err
    assert platform.actions["classify"].exec["kind"] == f"python:{HERE}"
    assert "as the zip answered on this machine" in flat(done.err)


def test_wrong_host_key_or_name_fails_before_the_build(
    build_zip: Command, platform: OpenWhisk, tmp_path: Path
) -> None:
    """Each in a second, and nothing is written."""
    output = tmp_path / "no.zip"
    wrong = properties(tmp_path / "..", platform, AUTH[:-1] + "x")
    none = tmp_path / "empty"
    none.touch()
    delete = ["undeploy", "classify"]
    cases: list[tuple[list[str], dict[str, str], int, str]] = [
        (["deploy"], {"WSK_CONFIG_FILE": str(wrong)}, 1, "does not accept the key"),
        (["deploy"], {"WSK_CONFIG_FILE": str(none)}, 2, "expected an API host, found none"),
        (delete, {"WSK_CONFIG_FILE": str(none)}, 2, "expected an API host, found none"),
        (["deploy", "--apihost", "http://127.0.0.1:1"], {}, 1, "cannot be reached"),
        (["deploy", "--apihost", "a b"], {}, 2, "--apihost: expected a host"),
        (["deploy", "--auth", "nonsense"], {}, 2, "--auth: expected USER:PASSWORD"),
        (["deploy", "--name", "a/b/c"], {}, 2, "[/NAMESPACE/][PACKAGE/]ACTION"),
        (["deploy", "--name", "/other/classify"], {}, 1, "the key may not do this"),
    ]
    if HERE != "3.12":
        cases.append((["deploy", "--python", "3.12"], {}, 1, f"it has python:{HERE}"))
    for arguments, environment, status, text in cases:
        done = build_zip(
            *arguments, *(["--output", output] * ("undeploy" not in arguments)), **environment
        )
        assert done.status == status, (arguments, done.err)
        assert text in flat(done.err), (arguments, done.err)
    assert not output.exists()
    assert {method for method, _ in platform.requests} == {"GET"}


def test_statuses_of_the_platform_are_explained(
    build_zip: Command, platform: OpenWhisk, archive: Path
) -> None:
    for status, text in (
        (401, "does not accept the key"),
        (403, "the key may not do this"),
        (409, "changed by somebody else"),
        (413, "too large for the platform"),
        (429, "takes no more requests for now"),
        (503, "cannot answer now"),
        (500, "failed: an error of the platform's own"),
    ):
        platform.statuses["PUT"] = [status]
        done = build_zip("deploy", archive, "--no-smoke")
        assert done.status == 1
        assert text in flat(done.err), (status, done.err)
    done = build_zip("deploy", archive, "--name", "pictures/what", "--no-smoke")
    assert "has no package pictures" in flat(done.err)
    platform.actions["other"] = Action({"kind": "nodejs:20", "code": "x"})
    done = build_zip("deploy", archive, "--name", "other", "--no-smoke")
    assert "is an action of kind nodejs:20" in flat(done.err)
    assert platform.actions["other"].exec["kind"] == "nodejs:20"


def test_memory_above_the_hosts_limit_is_refused(
    build_zip: Command, platform: OpenWhisk, archive: Path
) -> None:
    platform.max_memory = 64
    done = build_zip("deploy", archive, "--no-smoke")
    assert done.status == 1
    assert "64 MB at most" in flat(done.err)


def test_failed_start_shows_the_log(build_zip: Command, platform: OpenWhisk, archive: Path) -> None:
    """The platform has other code than we sent: as if its image were another one."""
    original = platform.put

    def broken(name: str, content: dict[str, Any], overwrite: bool) -> dict[str, Any]:
        document = original(name, content, overwrite)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as changed:
            changed.writestr("__main__.py", "raise SystemExit('no such library')\n")
        platform.actions[name].exec["code"] = base64.b64encode(file.getvalue()).decode()
        return document

    platform.put = broken  # type: ignore[method-assign]
    platform.late = 1
    for web in ("true", "no"):
        done = build_zip("deploy", archive, "--no-smoke", "--web", web)
        assert done.status == 1
        assert "no such library" in flat(done.err), done.err


def test_different_answer_fails_the_deployment(
    build_zip: Command, platform: OpenWhisk, archive: Path
) -> None:
    """Something between swaps the colours of pictures."""
    original = platform.invoke

    def swapped(name: str, params: dict[str, Any]) -> Activation:
        blue = base64_of(encoded(plain("blue")))
        return original(name, {**params, "image": blue})

    platform.invoke = swapped  # type: ignore[method-assign]
    done = build_zip("deploy", archive, "--web", "no")
    assert done.status == 1
    assert "answers differently from the zip here" in flat(done.err)


def test_unknown_kinds_are_named_after_the_python(
    build_zip: Command, platform: OpenWhisk, archive: Path
) -> None:
    platform.root = 404
    done = build_zip("deploy", archive)
    assert done.status == 0, done.err
    assert platform.actions["classify"].exec["kind"] == f"python:{HERE}"


def test_kind_matches_a_python() -> None:
    info = PlatformInfo({"python:3": "openwhisk/action-python-v3.11:1", "python:3.10": "x"}, None)
    assert match_kind(info, ["3.11", "3.10"], "host") == Kind("python:3.10", "3.10")
    assert match_kind(info, ["3.11"], "host") == Kind("python:3", "3.11")
    with pytest.raises(BuildError, match=r"no kind for Python 3\.12; it has python:3, python:3.10"):
        match_kind(info, ["3.12"], "host")
    with pytest.raises(BuildError, match="none for Python"):
        match_kind(PlatformInfo({}, None), ["3.12"], "host")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("classify", ("_", "", "classify")),
        ("p/a b", ("_", "p", "a b")),
        ("/ns/a", ("ns", "", "a")),
        ("/ns/p/a@b.c", ("ns", "p", "a@b.c")),
    ],
)
def test_action_names(text: str, expected: tuple[str, str, str]) -> None:
    name = parse_name(text)
    assert (name.namespace, name.package, name.action) == expected
    assert str(name) == text


@pytest.mark.parametrize("text", ["", "/", "/a", "a/", "a//b", "é", "-a", "a ", "a" * 300, "a\nb"])
def test_malformed_action_names_are_refused(text: str) -> None:
    with pytest.raises(BuildError):
        parse_name(text)


def test_host_and_key_come_from_wskprops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".wskprops"
    path.write_text(
        "# mine\nAPIHOST = whisk.example\nAUTH='a:b=c'\n\nNAMESPACE=ns\nCERT=c\nKEY=k\nnonsense\n"
    )
    monkeypatch.delenv("WSK_CONFIG_FILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    host = credentials.find_host()
    assert (host.url, host.auth, host.namespace) == ("https://whisk.example", "a:b=c", "ns")
    assert host.certificate == ("c", "k")
    assert "a:b" not in repr(host)
    other = credentials.find_host("http://127.0.0.1:3233/", "x:y")
    assert (other.url, other.auth, other.source) == ("http://127.0.0.1:3233", "x:y", "--auth")
    path.chmod(0)
    path.unlink()
    path.mkdir()
    with pytest.raises(BuildError, match="cannot read"):
        credentials.find_host()


@pytest.mark.parametrize(
    "text", ["https://", "ftp://a", "a/b", "a b", "a:port", "https://u:p@a", "a?b"]
)
def test_malformed_hosts_are_refused(text: str) -> None:
    with pytest.raises(BuildError, match="--apihost"):
        credentials.address(text)


def test_upload_reports_its_progress(platform: OpenWhisk, archive: Path) -> None:
    """In steps, up to the end."""
    from builder.deploy.openwhisk import OpenWhisk as Client

    steps: list[tuple[int, int | None]] = []
    client = Client(credentials.find_host(platform.url, AUTH))
    document = {"exec": {"kind": f"python:{HERE}", "code": "A" * 3_000_000}}
    client.put(parse_name("big"), document, lambda done, total: steps.append((done, total)))
    done = [number for number, _ in steps]
    assert done == sorted(done)
    assert len(set(done)) > 10
    assert steps[-1][0] == steps[-1][1] > 3_000_000  # type: ignore[operator]
    assert Console(quiet=True).notes == []
