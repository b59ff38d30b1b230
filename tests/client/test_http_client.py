"""`python3 -m action --url`, against the local server and against faulty servers."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import ExitStack
from email.utils import formatdate
from pathlib import Path

import pytest
from PIL import Image

from action.request import MAX_IMAGE_BYTES
from builder.artifact.smoke import SAMPLE
from builder.base.paths import ROOT
from client import batch, http_client
from tests.client.conftest import Run, make_pictures
from tests.conftest import HERE, encoded, interpreter, plain
from tests.support.fake_function import GOOD, FakeFunction, Reply, serving
from tests.support.local_server import copy_client, run_client, serving_locally
from tests.support.server import make_certificate


def test_folder_is_classified_by_the_local_server(built: Path, tmp_path: Path) -> None:
    """The client needs no build of its own; what fails does not stop the others."""
    folder = tmp_path / "some pictures"
    folder.mkdir()
    large = (b"BM" + bytes(900_000), bytes(MAX_IMAGE_BYTES + 1))
    colours = [encoded(plain(colour)) for colour in ("red", "lime", "blue")]
    for number, content in enumerate([*colours, b"broken", b"", *large]):
        (folder / f"{number}.png").write_bytes(content)
    with serving_locally(built) as port:
        url = f"http://127.0.0.1:{port}"
        here = copy_client(tmp_path / "here")
        done = run_client(here, "--url", url, "--top", "1", "--details", folder, site=False)
    assert done.returncode == 1
    assert re.fullmatch(r"7 pictures: 3 answered, 4 failed; \d+\.\d s\n", done.stderr)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(answer["file"]).name for answer in answers] == [f"{n}.png" for n in range(7)]
    classes = [[each["className"] for each in answer["results"]] for answer in answers[:3]]
    assert classes == [["red"], ["green"], ["blue"]]
    assert answers[0]["details"]["image"]["format"] == "PNG"
    # The large ones could not be made smaller.
    texts = ("not a picture", "found none", "broken BMP", "not a picture")
    for answer, text in zip(answers[3:], texts, strict=True):
        assert text in answer["error"]


def test_requests_have_options_type_and_secret(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("JPEG", "PNG", "WebP", "GIF", "BMP"):
        (tmp_path / f"{kind}.png").write_bytes(encoded(plain("red"), kind))
    (tmp_path / "text.png").write_bytes(b"text")
    with serving(FakeFunction()) as fake:
        options = ["--top", "2", "--threshold", "0.5", "--details", "--jobs", "1", "--secret", "s3"]
        status, answers, _ = run("--url", f"{fake.url}?key=1", *options, tmp_path)
        assert (status, len(answers)) == (0, 6)
        monkeypatch.setenv("CLASSIFY_SECRET", "from the environment")
        assert run("--url", fake.url, tmp_path / "PNG.png")[0] == 0
    assert [method for method, *_ in fake.seen] == ["GET"] + ["POST"] * 6 + ["GET", "POST"]
    assert fake.seen[0].target == "/classify?key=1"
    assert fake.seen[1].target == "/classify?key=1&topK=2&threshold=0.5&details=true"
    kinds = [request.headers["content-type"] for request in fake.seen[1:7]]
    names = ["bmp", "gif", "jpeg", "png", "webp"]
    assert kinds == [*(f"image/{name}" for name in names), "application/octet-stream"]
    assert {request.headers["x-require-whisk-auth"] for request in fake.seen[:7]} == {"s3"}
    assert fake.seen[-1].headers["x-require-whisk-auth"] == "from the environment"


@pytest.mark.parametrize(
    "replies",
    [
        [(429, {"retry-after": "0"}, {"error": "Too many requests"})],
        [(502, {}, b""), (502, {}, b"")],
        [(503, {"retry-after": "soon"}, b"")],
        [(503, {"retry-after": formatdate(0, usegmt=True)}, b""), (504, {}, b"<html>")] * 2,
        [(200, {"content-length": "99"}, b"{")],
        [(503, {}, b"")] * 3 + [(500, {}, {"error": "?"})] * 2,  # an outage, then a dead container
    ],
)
def test_temporary_failure_is_tried_again(run: Run, pictures: Path, replies: list[Reply]) -> None:
    with serving(FakeFunction(replies=list(replies))) as fake:
        status, answers, _ = run("--url", fake.url, pictures / "1.png")
    assert (status, answers[0]["results"]) == (0, GOOD["results"])
    assert fake.posts() == len(replies) + 1


def test_retry_after_is_honoured(run: Run, pictures: Path) -> None:
    for status in (429, 503):
        with serving(FakeFunction(replies=[(status, {"retry-after": "1"}, b"")])) as fake:
            began = time.monotonic()
            assert run("--url", fake.url, pictures / "1.png")[0] == 0
            assert time.monotonic() - began >= 1


@pytest.mark.parametrize(("minute", "told"), [(60.0, 1), (0.0, 3)])
def test_outage_is_told_once_a_minute(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch, minute: float, told: int
) -> None:
    monkeypatch.setattr(http_client, "MINUTE", minute)
    good: Reply = (200, {}, GOOD)
    busy: Reply = (503, {}, b"busy")
    with serving(FakeFunction(replies=[busy, good, busy, good, busy])) as fake:
        status, _, err = run("--url", fake.url, "--jobs", "1", pictures)
    assert status == 0
    assert err.count("HTTP status 503; trying again") == told


def test_gives_up_after_five_tries(run: Run, pictures: Path) -> None:
    with serving(FakeFunction(always=(503, {}, b"busy"))) as fake:
        status, answers, _ = run("--url", fake.url, "--jobs", "1", pictures)
    assert (status, len(answers)) == (batch.UNREACHABLE, 5)
    assert answers[0]["error"] == f"{fake.url}: HTTP status 503; gave up after 5 tries"
    # Then it is known that nothing answers, and each is tried but once; the last may be under way.
    assert fake.posts() - (5 + 4) in (0, 1)


@pytest.mark.parametrize(("jobs", "seconds"), [(1, 0.01), (3, 0.5), (64, 1.0)])
def test_jobs_limit_parallel_requests(run: Run, pictures: Path, jobs: int, seconds: float) -> None:
    with serving(FakeFunction(seconds=seconds)) as fake:
        status, answers, _ = run("--url", fake.url, "--jobs", str(jobs), pictures)
    assert status == 0
    assert [Path(answer["file"]).name for answer in answers] == [f"{n}.png" for n in range(6)]
    assert fake.max_parallel == min(jobs, 6)
    assert len(fake.connections) <= min(jobs, 6)  # each keeps its connection


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ((200, {"content-type": "text/html"}, b"<html>"), "found text/html with HTTP status 200"),
        ((404, {}, {"error": "The requested resource does not exist.", "code": "x"}), "--web true"),
        ((401, {}, {"error": "\x1b[2J", "code": "x"}), "?[2J (HTTP status 401)"),
        ((401, {}, {"error": "no", "code": "x"}), "the secret is not the one that the action was"),
        ((403, {"content-type": "text/html"}, b"<html>"), "access is denied"),
        ((403, {}, {"error": "forbidden"}), "access is denied"),
        ((200, {}, [1]), "expected the function's JSON"),
        ((200, {}, {"hello": 1}), "not the function: no 'classes'"),
        ((200, {}, b"[" * 100_000), "expected the function's JSON"),
        ((302, {"location": "https://example.com/"}, b""), "a redirect to https://example.com/"),
        ((503, {}, b""), "HTTP status 503; trying again"),
    ],
)
def test_wrong_address_is_reported_once(
    run: Run, pictures: Path, description: Reply, text: str
) -> None:
    with serving(FakeFunction(description=description)) as fake:
        status, answers, err = run("--url", fake.url, "--secret", "s3cret", pictures)
    assert (status, answers, fake.posts()) == (2, [], 0)
    assert text in err and "s3cret" not in err
    assert fake.url in err
    assert len(err.splitlines()) == 1 + (description[0] == 503)


def test_replies_that_are_no_answers(run: Run, pictures: Path) -> None:
    html: Reply = (200, {"content-type": "text/html"}, b"<html>")
    with serving(FakeFunction(replies=[html, (200, {}, {"results": [{"className": 5}]})])) as fake:
        status, answers, _ = run("--url", fake.url, "--jobs", "1", pictures)
    assert (status, fake.posts()) == (1, 6)
    assert "found text/html with HTTP status 200; is it" in answers[0]["error"]
    assert "expected 'results'" in answers[1]["error"]
    assert answers[2]["results"]


def test_unreachable_server(run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(http_client, "TIMEOUT", 0.3)
        status, _, err = run("--url", f"http://127.0.0.1:{port}", pictures)
        assert (status, "no answer within 0 s" in err) == (2, True), err
    status, _, err = run("--url", f"http://127.0.0.1:{port}", pictures)
    assert status == 2
    assert err.endswith(": the connection failed: Connection refused\n")  # at once
    status, _, err = run("--url", "https://nothing.invalid", pictures)
    assert (status, "https://nothing.invalid: " in err) == (2, True)
    with serving(FakeFunction()) as fake:
        status, _, err = run("--url", fake.url.replace("http:", "https:"), pictures)
    assert (status, "no secure connection: " in err) == (2, True), err


def test_proxy_of_the_environment(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(FakeFunction()) as fake:
        monkeypatch.setenv("http_proxy", fake.url.replace("//", "//me:p%40ss@"))
        assert run("--url", "http://nothing.invalid/classify", pictures / "1.png")[0] == 0
    assert fake.seen[-1].target == "http://nothing.invalid/classify"
    assert fake.seen[-1].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1")
    status, _, err = run("--url", "http://nothing.invalid", pictures)
    assert (status, "the proxy of the environment cannot be used" in err) == (2, True)


def test_certificates(run: Run, pictures: Path, tmp_path: Path) -> None:
    """A certificate of one's own is trusted by --ca, any by --insecure."""
    pem = make_certificate(tmp_path, "IP:127.0.0.1")
    with serving(FakeFunction(), certificate=pem) as fake:
        url = fake.url.replace("http:", "https:")
        status, _, err = run("--url", url, pictures)
        assert (status, "; --ca FILE names the authority to trust" in err) == (2, True), err
        assert run("--url", url, "--ca", tmp_path / "cert.pem", pictures)[0] == 0
        assert run("--url", url, "--insecure", pictures)[0] == 0
        (tmp_path / "text.pem").write_text("no certificate")
        for name in ("none.pem", "text.pem"):
            status, _, err = run("--url", url, "--ca", tmp_path / name, pictures)
            assert (status, "expected a PEM file with certificates" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--url", "classify"], "--url: expected an http or https URL, found 'classify'"),
        (["--url", ""], "found ''"),
        (["--url", "file:///etc/passwd"], "found 'file:///etc/passwd'"),
        (["--url", "http://"], "expected an http or https URL"),
        (["--url", "http://a:99999"], "expected an http or https URL"),
        (["--url", "http://me:secret@a"], "expected an http or https URL"),
        (["--url", "http://a/ä\n"], "expected an http or https URL"),
        (["--url", "http://a/b c"], "expected an http or https URL"),
        (["--url", "http://a", "--secret", "ä"], "--secret: expected ASCII"),
        (["--url", "http://a", "--jobs", "0"], "--jobs: expected a whole number from 1 to 64"),
        (["--jobs", "2"], "go with --url"),
        (["--serve"], "expected either pictures or --serve"),
        (["--csv", "--json"], "not allowed with argument"),
        (["--url", "http://127.0.0.1:0", "--top", "x"], "invalid int value"),
    ],
)
def test_invalid_options(run: Run, arguments: list[str], text: str) -> None:
    status, answers, err = run(*arguments, "x.png")
    assert (status, answers) == (2, [])
    assert text in err


def test_ctrl_c_stops_at_once(pictures: Path) -> None:
    with serving(FakeFunction(seconds=60)) as fake:
        process = subprocess.Popen(
            [interpreter(HERE), "-m", "action", "--url", fake.url, str(pictures), "-"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # in the background of a script the tests themselves may ignore SIGINT
            text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env={**os.environ, "no_proxy": "127.0.0.1"},
        )  # fmt: skip
        while fake.max_parallel < 4:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "stopped\n")


def test_batch_stops_after_five_undelivered(pictures: Path, tmp_path: Path, run: Run) -> None:
    """Refused and missing pictures do not count."""
    refused: Reply = (422, {}, {"error": "broken JPEG"})
    missing = [tmp_path / f"{number}.png" for number in range(7)]
    with serving(FakeFunction(always=refused)) as fake:
        status, answers, _ = run("--url", fake.url, pictures, *missing)
    assert (status, len(answers)) == (1, 13)
    for number in range(6, 20):
        (pictures / f"{number}.png").write_bytes(b"x")
    kept = tmp_path / "results.jsonl"
    closed: Reply = (404, {"content-type": "text/html"}, b"<html>")
    with serving(FakeFunction(replies=[(200, {}, GOOD)] * 2, always=closed)) as fake:
        status, _, err = run("--url", fake.url, "--jobs", "1", "--output", kept, pictures)
    assert status == batch.UNREACHABLE
    assert fake.posts() <= 2 + 5 + 1
    assert "20 pictures: 2 answered, 0 failed, 5 not delivered, 13 not tried; see" in err
    assert "stopped: 5 pictures in a row could not be delivered: http" in err
    assert len(kept.read_text().splitlines()) == 2


def test_later_run_continues(pictures: Path, tmp_path: Path, run: Run) -> None:
    kept = tmp_path / "results.jsonl"
    with serving(FakeFunction()) as fake:
        fake.replies = [(200, {}, GOOD), (422, {}, {"error": "broken"}), (404, {}, b"")]
        status, out, err = run(
            "--url", fake.url, "--jobs", "1", "--output", kept, pictures, tmp_path / "none.png"
        )
        assert (status, out) == (1, [])
        assert "7 pictures: 4 answered, 2 failed, 1 not delivered; see" in err
        assert "none.png: cannot be read: No such file" in err
        lines = kept.read_bytes().splitlines(keepends=True)
        assert len(lines) == 5
        kept.write_bytes(b"".join(lines[:4]) + lines[4][:20])  # as a crash leaves it
        status, out, err = run("--url", fake.url, "--output", kept, pictures)
        assert (status, out) == (0, [])
        assert f"6 pictures: 2 answered, 0 failed; 4 were in {kept}" in err
        named = [Path(json.loads(line)["file"]).name for line in kept.read_text().splitlines()]
        assert sorted(named) == [f"{number}.png" for number in range(6)]
        posts = fake.posts()
        status, out, err = run("--url", fake.url, "--output", kept, pictures)
        assert (status, fake.posts()) == (0, posts)
        kept.write_bytes(kept.read_bytes().removesuffix(b"\n"))
        assert run("--url", fake.url, "--output", kept, SAMPLE)[0] == 0
        assert len(kept.read_text().splitlines()) == 7


@pytest.mark.parametrize("content", [b"a letter", b"a\nletter\n", b'{"file": 1}\n', b"[" * 9999])
def test_other_file_is_not_overwritten(
    pictures: Path, tmp_path: Path, run: Run, content: bytes
) -> None:
    (tmp_path / "letter").write_bytes(content)
    with serving(FakeFunction()) as fake:
        status, _, err = run("--url", fake.url, "--output", tmp_path / "letter", pictures)
        assert (status, "expected JSON lines of an earlier run" in err) == (2, True)
        assert (tmp_path / "letter").read_bytes() == content
        assert run("--url", fake.url, "--output", tmp_path, pictures)[0] == 2
    assert fake.posts() == 0


def test_large_photo_is_shrunk(run: Run, tmp_path: Path) -> None:
    """The photo is turned by EXIF: its red left side is at the top of the sent square."""
    large = Image.effect_noise((4000, 3000), 60).convert("RGB")  # compresses badly
    large.paste("red", (0, 0, 3000, 3000))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encoded(large, "JPEG", quality=95, exif=exif))
    (tmp_path / "b.png").write_bytes(b"small")
    with serving(FakeFunction()) as fake:
        status, answers, _ = run("--url", fake.url, tmp_path)
    assert (status, len(answers)) == (0, 2), answers
    size = (tmp_path / "a.jpg").stat().st_size
    assert size > 2_000_000
    sent = answers[0]["sent"]
    assert (sent["of"], sent["format"]) == (size, "PNG")
    assert "sent" not in answers[1]
    [body] = [request.body for request in fake.seen if len(request.body) > len(b"small")]
    assert len(body) == sent["bytes"] < 776_000
    small = Image.open(io.BytesIO(body))
    assert small.size == (sent["width"], sent["height"])
    red = small.convert("RGB").crop((5, 5, small.width, small.height // 3)).resize((1, 1))
    assert red.tobytes()[0] > 200
    assert red.tobytes()[1] < 60


def test_heic_photo_is_converted(run: Run, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (640, 480), "red")).save(file)
    (tmp_path / "a.heic").write_bytes(file.getvalue())
    (tmp_path / "b.HEIC").write_bytes(file.getvalue()[:64])
    with serving(FakeFunction()) as fake:
        status, answers, _ = run("--url", fake.url, tmp_path)
        sent = {"format": "JPEG", "width": 640, "height": 480, "bytes": len(fake.seen[1].body)}
        assert answers[0]["sent"] == {**sent, "of": len(file.getvalue())}
        assert Image.open(io.BytesIO(fake.seen[1].body)).format == "JPEG"
        assert status == 1
        assert "pip install pillow-heif,  or save it as JPEG" in answers[1]["error"]


def test_pictures_survive_a_restart_of_the_server(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is busy once in ten times, breaks off, is away for half a second and comes back."""
    monkeypatch.setattr(http_client, "DELAY", 0.2)
    folder = make_pictures(tmp_path / "pictures", 200)
    replies: list[Reply] = [(503, {}, b"") if n % 10 == 7 else (200, {}, GOOD) for n in range(200)]
    broken: Reply = (200, {"content-length": "99"}, b"{")
    fake = FakeFunction(replies=replies)
    with ExitStack() as server:
        server.enter_context(serving(fake))

        def restart() -> None:
            while fake.posts() < 60:
                time.sleep(0.01)
            fake.refuse = lambda _: broken  # in place of the connections that are open
            server.close()
            time.sleep(0.5)
            fake.refuse = lambda _: None
            server.enter_context(serving(fake, port=int(fake.url.split(":")[2].split("/")[0])))

        threading.Thread(target=restart).start()
        kept = tmp_path / "results.jsonl"
        status, _, err = run("--url", fake.url, "--jobs", "16", "--output", kept, folder)
    assert status == 0, err
    assert "the connection failed: " in err
    assert "200 pictures: 200 answered, 0 failed; see" in err
    answers = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [answer["file"] for answer in answers] == [*map(str, sorted(folder.iterdir()))]
