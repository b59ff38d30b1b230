"""The page for browsers, in a real Chromium, against the local server."""

from __future__ import annotations

import base64
import csv
import io
import json
import mimetypes
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect

from builder.artifact.smoke import SAMPLE
from builder.base.paths import ROOT
from tests.conftest import encoded, plain
from tests.support.local_server import serving_locally

# Keeps bodies that are sent: the browser does not expose those of requests with files.
WATCHED = """
const send = XMLHttpRequest.prototype.send;
window.sent = [];
XMLHttpRequest.prototype.send = function (body) {
  if (body) window.sent.push(body);
  return send.call(this, body);
};
"""
# Lets pauses pass fifty times as fast.
HURRY = """() => {
  const later = window.setTimeout;
  window.setTimeout = (work, time) => later(work, time / 50);
}"""


class Visit:
    """The page in a new tab, with its requests and console messages."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.address = address
        self.problems: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.page: Page = browser.new_context(**options).new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda made: self.requests.append((made.method, made.url)))
        self.page.add_init_script(WATCHED)
        self.page.goto(address)
        expect(self.page.locator("#about")).not_to_be_empty()  # it asks for the model first
        self.rows = self.page.locator("#rows li")
        self.status = self.page.locator("#status")
        self.live = self.page.locator("#live")

    def posts(self) -> int:
        return sum(method == "POST" for method, _ in self.requests)

    def choose(self, content: bytes, *names: str) -> None:
        """Choose files of this content; their types are those of their names."""
        files: Any = [
            {"name": name, "mimeType": mimetypes.guess_type(name)[0] or "", "buffer": content}
            for name in names or ("a.jpg",)
        ]
        self.page.locator(".choose input").set_input_files(files)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    def download(self, name: str) -> str:
        with self.page.expect_download() as saved:
            self.button(name).click()
        return saved.value.path().read_bytes().decode()

    def send_event(self, event: str, content: bytes = b"", name: str = "", kind: str = "") -> None:
        """Drop or paste a file; nothing without a name."""
        self.page.evaluate(
            """([event, content, name, kind]) => {
              const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
              const carried = new DataTransfer();
              if (name) carried.items.add(new File([bytes], name, { type: kind }));
              const made = event === 'paste'
                ? new ClipboardEvent(event, { clipboardData: carried, bubbles: true })
                : new DragEvent(event, { dataTransfer: carried, bubbles: true, cancelable: true });
              document.body.dispatchEvent(made);
            }""",
            [event, base64.b64encode(content).decode(), name, kind],
        )

    def sent(self) -> bytes:
        """Return the body of the last request that had one."""
        body: str = self.page.evaluate(
            """async () => {
              const bytes = new Uint8Array(await window.sent.at(-1).arrayBuffer());
              return btoa(Array.from(bytes, (one) => String.fromCharCode(one)).join(''));
            }"""
        )
        return base64.b64decode(body)

    def sees(self, name: str) -> None:
        expect(self.status).to_have_text(re.compile(rf"^{name}, \d+\.\d%$"))
        for text in self.rows.all_inner_texts():
            assert not text.startswith((name, "background"))
            assert "0.0%" not in text.replace("10.0%", "")
        expect(self.page.locator("main")).to_have_attribute("aria-busy", "false")

    def fails(self, text: str, detail: str = "") -> None:
        """Check the error text, and the function's own text below it."""
        expect(self.status).to_have_class("error")
        expect(self.status).to_contain_text(text)
        expect(self.page.locator("#also")).to_contain_text(detail)
        expect(self.rows).to_have_count(0)

    def clear_status_messages(self) -> None:
        """Drop the console's lines about failed requests; fail if there are others."""
        assert all(text.startswith("Failed to load resource") for text in self.problems), (
            self.problems
        )
        self.problems.clear()


@pytest.fixture(scope="module")
def address(installed: Path) -> Iterator[str]:
    with serving_locally(installed) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens the page in a context with some options."""
    visits: list[Visit] = []

    def open_in_context(**options: Any) -> Visit:
        visits.append(Visit(browser, address, **options))
        return visits[-1]

    yield open_in_context
    for each in visits:
        each.page.context.close()
        assert each.problems == []  # a violation of the policy would be among them
        for _, asked in each.requests:
            assert asked.startswith((address, "data:", f"blob:{address}")), asked


@pytest.fixture
def visit(open_page: Callable[..., Visit]) -> Visit:
    return open_page()


def test_dropped_pasted_and_chosen_pictures_are_classified(visit: Visit) -> None:
    """None is thrown away but by a button."""
    picture = SAMPLE.read_bytes()
    expect(visit.page.locator("#about")).to_contain_text("kinds of things")
    expect(visit.page.locator("#about")).to_contain_text("JPEG, PNG, WebP, GIF or BMP")
    for number, way in enumerate(("drop", "paste", "choose"), 1):
        if way == "choose":
            visit.choose(picture)
        else:
            visit.send_event(way, picture, "cup.jpg", "image/jpeg")
        visit.page.wait_for_function("(number) => window.sent.length === number", arg=number)
        visit.sees("espresso")
        expect(visit.page.locator("figure img")).to_be_visible()
        expect(visit.page.locator(".answer")).to_be_focused()
        expect(visit.page.locator(".row")).to_have_count(number)
        assert visit.sent() == picture
    visit.page.get_by_text("Details").click()
    for name in ("Sent", "Decode", "Classify", "Function", "Round trip"):
        value = visit.page.locator(f"dt:has-text('{name}') + dd").inner_text()
        assert re.match(r"[\d.]+ (ms|kB)", value), value
    for event, text in (("paste", "no picture on the clip"), ("drop", "That was no file.")):
        visit.send_event(event)
        expect(visit.page.locator("#note")).to_contain_text(text)
        visit.sees("espresso")
    for kind in ("text/plain", "image/jpeg"):
        visit.send_event("drop", b"Some text, no picture.\n", "notes.txt", kind)
        visit.fails("“notes.txt” is not a picture that this browser can open. Try a JPEG, PNG")
        expect(visit.page.locator("figure")).to_be_hidden()
        expect(visit.page.locator("#note")).to_be_hidden()
    visit.choose(b"ftypheic", "a.heic")
    visit.fails("“a.heic” is a HEIC photo, which this browser cannot open. Export it as JPEG.")
    expect(visit.page.locator(".row")).to_have_count(6)
    assert visit.posts() == 3
    visit.button("Remove all").click()
    expect(visit.status).to_be_hidden()
    expect(visit.page.locator(".row")).to_have_count(0)
    expect(visit.page.get_by_label("Drop, paste or choose pictures")).to_be_focused()


def test_large_picture_is_shrunk(visit: Visit) -> None:
    """12 megapixels, turned by EXIF: red is on the left, and so at the top."""
    picture = Image.effect_noise((4000, 3000), 90).convert("RGB")
    picture.paste("red", (0, 0, 1000, 3000))
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(picture, "JPEG", quality=92, exif=exif)
    assert len(content) > 5_000_000
    visit.choose(content)
    expect(visit.status).to_have_class("found")
    assert " MB" in str(visit.page.locator("dt:has-text('Sent') + dd").text_content())
    assert len(visit.sent()) <= 700 * 1024
    sent = Image.open(io.BytesIO(visit.sent()))
    assert (sent.format, sent.width / sent.height) == ("JPEG", 0.75)
    assert 500 < sent.height <= 1024
    red, green, _ = np.asarray(sent)[sent.height // 5, sent.width // 2]
    assert (red > 200, green < 60) == (True, True)


def test_transparent_and_svg_pictures_are_converted(visit: Visit) -> None:
    noise = Image.effect_noise((1200, 1200), 90).convert("RGBA")
    noise.paste((0, 0, 0, 0), (0, 0, 1200, 400))
    visit.choose(encoded(noise), "a.png")
    expect(visit.status).to_have_class("found")
    assert np.asarray(Image.open(io.BytesIO(visit.sent())))[50, 50].min() > 240
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="90"></svg>'
    visit.choose(drawing, "a.svg")
    visit.page.wait_for_function("() => window.sent.length === 2")
    expect(visit.status).to_have_class("found")
    assert Image.open(io.BytesIO(visit.sent())).size == (300, 90)


def test_refusal_of_the_function_is_shown(visit: Visit) -> None:
    """Chromium opens an icon, which the function does not support."""
    visit.choose(encoded(plain("red"), "ICO"), "a.png")
    visit.fails("kind of picture is not supported. Save it as JPEG", "unsupported format")
    expect(visit.page.get_by_role("button", name="Try again")).to_be_hidden()
    expect(visit.page.locator("figure img")).to_be_visible()
    visit.clear_status_messages()


@pytest.mark.parametrize(
    ("status", "body", "sent"),
    [
        (502, "<h1>Bad gateway</h1>", 5),
        (503, "", 5),
        (500, '{"error": "internal error"}', 3),
        (202, '{"error": "Response not yet ready.", "code": "x"}', 3),
        (400, '{"error": "There was an error processing your request.", "code": "x"}', 3),
        (0, "", 5),
    ],
)
def test_failed_request_is_tried_again(visit: Visit, status: int, body: str, sent: int) -> None:
    """By itself for some time; then a button does it."""

    def answer(route: Route) -> None:
        route.fulfill(status=status, body=body) if status else route.abort()

    visit.page.evaluate(HURRY)
    visit.page.route("**/*", answer)
    visit.choose(SAMPLE.read_bytes())
    visit.fails("There was no answer" if status else "The service could not be reached.")
    assert visit.posts() == sent
    visit.page.unroute("**/*")
    visit.clear_status_messages()
    visit.button("Try again").click()
    visit.sees("espresso")


def test_batch_waits_for_the_next_minute(visit: Visit) -> None:
    """Ten are answered; then all are refused until four were; then one at a time asks again."""
    statuses = [200] * 10 + [429] * 4 + [200] * 10 + [429] * 4 + [200] * 180
    replies = {200: answered([("owl", 0.9)]), 429: '{"error": "Too many requests", "code": "x"}'}

    def answer(route: Route) -> None:
        status = statuses.pop(0)
        route.fulfill(status=status, body=replies[status])

    visit.page.evaluate(HURRY)
    visit.page.route("**/*details=true", answer)
    visit.choose(encoded(plain("red", (8, 8))), *[f"{number}.png" for number in range(200)])
    expect(visit.live).to_have_text("200 of 200 pictures are answered.", timeout=60_000)
    assert visit.page.locator(".row .share").all_inner_texts() == ["90.0%"] * 200
    assert statuses == []
    visit.clear_status_messages()
    assert visit.page.evaluate("document.documentElement.scrollHeight < 1600")  # the list scrolls
    visit.page.get_by_role("listbox").press("End")
    expect(visit.page.locator(".row").last).to_be_in_viewport()


def test_stopped_batch_goes_on(visit: Visit) -> None:
    visit.page.route("**/*details=true", lambda route: None)
    visit.choose(SAMPLE.read_bytes(), *[f"{number}.png" for number in range(6)])
    visit.page.wait_for_function("() => window.sent.length === 1")
    visit.button("Stop").click()
    expect(visit.page.locator("#count")).to_have_text("6 of 6 pictures, 6 without an answer")
    visit.page.unroute("**/*details=true")
    visit.button("Try failed ones again").click()
    expect(visit.live).to_have_text("6 of 6 pictures are answered.")
    assert visit.page.locator(".row .class").all_inner_texts() == ["espresso"] * 6


@pytest.mark.parametrize("at_once", [True, False])
def test_secret_is_asked_for(visit: Visit, at_once: bool) -> None:
    """When the page is opened, if that is refused already, else for the first picture."""

    def answer(route: Route) -> None:
        if route.request.headers.get("x-require-whisk-auth") == "s3cret":
            route.continue_()
        else:
            route.fulfill(status=401, body='{"error": "Authentication failed", "code": "x"}')

    visit.page.route("**/*details=true", answer)
    if at_once:
        visit.page.route(lambda url: url == visit.address, answer)
        visit.page.evaluate("describe()")
        shown = visit.page.locator("#note")
    else:
        visit.choose(SAMPLE.read_bytes())
        shown = visit.status
    field = visit.page.get_by_label("Secret")
    for secret, text in (("wrong", "needs a secret"), ("s3cret", "is not the right one")):
        expect(shown).to_contain_text(text)
        field.fill(secret)
        field.press("Enter")
    expect(field).to_be_hidden()
    if at_once:
        visit.choose(SAMPLE.read_bytes())
    visit.sees("espresso")
    visit.clear_status_messages()


@pytest.mark.parametrize("bound", [["topK"], ["details"], ["topK", "details"]])
def test_bound_options_are_left_out(visit: Visit, bound: list[str]) -> None:
    refused = "Request defines parameters that are not allowed (e.g., reserved properties)."

    def answer(route: Route) -> None:
        if any(name in route.request.url for name in bound):
            route.fulfill(status=400, body=json.dumps({"error": refused, "code": "x"}))
        else:
            route.continue_()

    visit.page.route("**/*", answer)
    visit.choose(SAMPLE.read_bytes(), "a.jpg", "b.jpg")
    expect(visit.live).to_have_text("2 of 2 pictures are answered.")
    assert visit.posts() <= 5
    visit.clear_status_messages()


def test_slow_upload_shows_its_progress(visit: Visit) -> None:
    noise = encoded(Image.effect_noise((640, 640), 90).convert("RGB"))
    session = visit.page.context.new_cdp_session(visit.page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", slow)
    visit.choose(noise, "noise.jpg")
    expect(visit.status).to_have_text(re.compile(r"Sending, [1-9]\d?\.\d% …"))
    expect(visit.page.locator("main")).to_have_attribute("aria-busy", "true")
    assert visit.page.locator("#share div").evaluate("(bar) => parseFloat(bar.style.width)") > 0
    visit.button("Cancel").click()
    visit.fails("Stopped before it was answered.")


@pytest.mark.parametrize(
    ("model", "size", "bright", "text"),
    [
        ((224, 224, "crop", 0.875), (600, 400), (350, 350), "The bright part"),
        ((80, 40, "crop", 1.0), (400, 400), (400, 200), "The bright part"),
        ((224, 224, "crop", 1.0), (300, 300), (300, 300), ""),
        ((224, 224, "pad", 1.0), (400, 200), (400, 400), "with black bars"),
        ((224, 224, "squash", 1.0), (400, 200), (400, 200), "squeezed into another shape"),
    ],
)
def test_what_the_model_sees_is_shown(
    visit: Visit, model: Any, size: Any, bright: Any, text: str
) -> None:
    shape = dict(zip(("width", "height", "fit", "crop"), model, strict=True))
    visit.page.evaluate("(shape) => { about.input = shape; }", shape)
    visit.choose(encoded(Image.new("RGB", size, "red")), "a.png")
    expect(visit.status).to_have_class("found")
    visit.page.evaluate("(shape) => { about.input = shape; show(current); }", shape)
    expect(visit.page.locator("figcaption")).to_contain_text(text)
    crop, frame = visit.page.locator(".crop"), visit.page.locator(".frame")
    shown = crop if crop.is_visible() else frame
    box, whole = shown.bounding_box(), frame.bounding_box()
    assert box and whole
    scale = whole["width"] / (max(size) if model[2] == "pad" else size[0])
    assert (box["width"], box["height"]) == pytest.approx([side * scale for side in bright], abs=2)


def answered(names: list[tuple[str, float]], start: str = "warm") -> str:
    """Return an answer of the function with these classes."""
    timings = {"decode": 1, "classify": 2, "total": 3, "init": 400}
    results = [
        {"className": name, "probability": share, "background": name == "background"}
        for name, share in names
    ]
    return json.dumps({"results": results, "details": {"timings": timings, "start": start}})


def show(visit: Visit, answer: str) -> None:
    """Classify any picture, with this answer for it."""
    visit.page.route("**/*details=true", lambda route: route.fulfill(status=200, body=answer))
    visit.choose(SAMPLE.read_bytes())
    expect(visit.status).to_have_class("found")
    visit.page.unroute("**/*details=true")


def test_unlikely_classes_are_hidden(visit: Visit) -> None:
    """The best class is only in the headline; unlikely ones are behind a button."""
    classes = [("background", 0.5), ("giant panda, panda, bear", 0.4), ("tabby, cat", 0.06)]
    classes += [("lynx", 0.02), ("fox", 0.005), ("wolf", 0.0005), ("hare", 0.0004), ("owl", 0.0)]
    show(visit, answered(classes))
    expect(visit.status).to_have_text("giant panda, 40.0%")
    expect(visit.page.locator("#lead")).to_have_text("Perhaps")
    expect(visit.page.locator("#also")).to_have_text("panda, bear")
    shown = [row.locator("span").first.text_content() for row in visit.rows.all()]
    more = visit.page.get_by_role("button", name="2 more, less likely")
    expect(more).to_have_attribute("aria-expanded", "false")
    assert shown == ["tabbycat", "lynx", "fox", "wolf"]
    assert [row.is_visible() for row in visit.rows.all()] == [True, True, False, False]
    more.click()
    assert [row.is_visible() for row in visit.rows.all()] == [True] * 4
    show(visit, answered([("background", 1.0), ("owl", 0.0)]))
    expect(visit.status).to_have_text("No class fits. Try another picture.")
    expect(visit.page.locator("#share")).to_be_hidden()


def test_answer_is_in_plain_words(visit: Visit) -> None:
    show(visit, answered([("owl", 0.95)], "cold"))
    expect(visit.page.locator("#time")).to_contain_text("the service had to start")
    expect(visit.page.locator("#lead")).to_have_text("This looks like")
    show(visit, answered([("owl", 0.05)]))
    expect(visit.page.locator("#time")).to_have_text(re.compile(r"^Answered in [\d.]+ ms\.$"))
    expect(visit.page.locator("#lead")).to_have_text("Hard to say; at best")
    shown = visit.page.locator("body").inner_text()
    assert not re.search(r"cold|warm|function|tflite|mobilenet", shown, re.IGNORECASE), shown


def test_right_to_left_class_names(visit: Visit) -> None:
    show(visit, answered([("قطة، هر", 0.7), ("ארנב", 0.2), ("fox", 0.1)]))
    expect(visit.status).to_have_text("قطة, 70.0%")
    expect(visit.page.locator("#also")).to_have_text("هر")
    directions = visit.page.locator("#status b, #rows span:first-child").evaluate_all(
        "(all) => all.map((each) => getComputedStyle(each).direction)"
    )
    assert directions == ["rtl", "rtl", "ltr"]


def test_list_of_pictures(visit: Visit) -> None:
    """A picture that fails leaves the others; the list is sorted, saved, and used by keyboard."""
    held: list[Route] = []
    visit.page.route("**/*details=true", lambda route: held.append(route))
    picture = {"mimeType": "image/png", "buffer": encoded(plain("red"))}
    files: Any = [{**picture, "name": f"{name}.png"} for name in ("=d", "c", "b", "a")]
    files.insert(2, {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"text"})
    visit.page.locator(".choose input").set_input_files(files)
    rows = visit.page.locator(".row .name")
    expect(rows).to_have_text(["=d.png", "c.png", "notes.txt", "b.png", "a.png"])
    expect(visit.page.locator("#count")).to_have_text("0 of 5 pictures")
    visit.page.wait_for_timeout(300)
    assert len(held) == 1  # alone: it starts the function
    held[0].fulfill(status=200, body=answered([("class 0", 0.9)]))
    while len(held) < 4:
        visit.page.wait_for_timeout(50)
    for number, route in reversed([*enumerate(held)][1:]):  # the last one first
        route.fulfill(status=200, body=answered([(f"class {number}", 0.9 - number / 10)]))
    expect(visit.live).to_have_text("4 of 5 pictures are answered. 1 failed: notes.txt.")
    expect(visit.page.locator("progress")).to_be_hidden()
    expect(visit.status).to_have_text("class 0, 90.0%")
    listed = visit.page.get_by_role("listbox")
    listed.focus()
    for key, text in (
        ("ArrowDown", "class 1, 80.0%"), ("End", "class 3, 60.0%"), ("Home", "class 0, 90.0%"),
        ("ArrowUp", "class 0"), ("PageDown", "class 3"), ("ArrowUp", "class 2"),
        ("ArrowUp", "“notes.txt” is not a picture"),
    ):  # fmt: skip
        visit.page.keyboard.press(key)
        expect(visit.status).to_contain_text(text)
        selected = visit.page.locator(".row[aria-selected=true]")
        expect(listed).to_have_attribute("aria-activedescendant", str(selected.get_attribute("id")))
    visit.page.keyboard.press("Tab")  # the list is one stop
    assert visit.page.evaluate("!document.activeElement.closest('.batch')")
    for by, expected in (
        ("name", ["=d.png", "a.png", "b.png", "c.png", "notes.txt"]),
        ("class", ["notes.txt", "=d.png", "c.png", "b.png", "a.png"]),
        ("probability", ["=d.png", "c.png", "b.png", "a.png", "notes.txt"]),
    ):
        visit.page.get_by_label("Sort by").select_option(by)
        expect(rows).to_have_text(expected)
    saved = [*csv.reader(io.StringIO(visit.download("Save as CSV")))]
    assert saved[:2] == [
        ["file", "class", "probability", "error"],
        ["'=d.png", "class 0", "0.9", ""],
    ]
    assert saved[5][0] == "notes.txt" and "is not a picture" in saved[5][3]
    kept = json.loads(visit.download("Save as JSON"))
    assert kept[0]["results"][0]["className"] == "class 0"
    assert [each["file"] for each in kept if "error" in each] == ["notes.txt"]


def test_examples_are_classified(visit: Visit) -> None:
    """They are offered where the model has their classes."""
    examples = visit.page.locator(".examples")
    visit.page.evaluate("() => { known = about.samples; about.samples = []; offer(); }")
    expect(examples).to_be_hidden()
    visit.page.evaluate("() => { about.samples = known; offer(); }")
    visit.button("cup of coffee").click()
    visit.sees("espresso")
    visit.page.evaluate("clear()")
    visit.page.get_by_role("button", name="cat", exact=True).click()
    expect(visit.status).to_have_text(re.compile("^(Egyptian cat|tabby|tiger cat)"))


def copied(visit: Visit, button: str) -> str:
    visit.button(button).click()
    expect(visit.page.locator("#copied")).to_have_text("Copied")
    return str(visit.page.evaluate("navigator.clipboard.readText()"))


def test_copied_curl_command_gives_the_same_answer(
    open_page: Callable[..., Visit], tmp_path: Path
) -> None:
    """In each shell, whatever the file's name, and if the picture was made smaller or pasted."""
    visit = open_page(permissions=["clipboard-read", "clipboard-write"])
    large = Image.open(SAMPLE).resize((2400, 1600))
    names = ["it's $HOME a.jpg", "cat;touch x;.jpg", "-o.jpg", "`touch x`!.jpg", "a\nb\x1b.jpg"]
    contents = dict.fromkeys(names, SAMPLE.read_bytes())
    contents["large.png"] = encoded(large)
    assert len(contents["large.png"]) > 2**20
    for name, content in contents.items():
        visit.choose(content, name)
        visit.sees("espresso")
        if name == names[0]:
            visit.page.get_by_text("Details").click()
        shown = json.loads(copied(visit, "Copy JSON"))
        command = copied(visit, "Copy as curl")
        assert command.replace("\n", "").isprintable()
        if name.isprintable():
            (tmp_path / name).write_bytes(content)
        for shell in filter(shutil.which, ("bash", "dash", "zsh")):
            done = subprocess.run(
                [shell, "-c", command], cwd=tmp_path, capture_output=True, check=True,
                env={**os.environ, "no_proxy": "127.0.0.1"},
            )  # fmt: skip
            assert json.loads(done.stdout)["results"] == shown["results"]
    assert not (tmp_path / "x").exists()
    # Without https, browsers have only the older clipboard API.
    visit.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    assert copied(visit, "Copy JSON").startswith("{")


def test_injected_script_does_not_run(visit: Visit) -> None:
    """The page's policy allows its own script and no other."""
    visit.page.evaluate(
        """() => {
          document.body.append(make('script', '', 'window.ran = true'));
          document.body.insertAdjacentHTML('beforeend', '<p id="bad" onclick="ran = true">');
          $('#bad').click();
        }"""
    )
    assert visit.page.evaluate("window.ran") is None
    assert ["Content Security Policy" in text for text in visit.problems] == [True, True]
    visit.problems.clear()


@pytest.mark.parametrize(
    ("size", "touch", "scheme"),
    [
        ((320, 568), True, "light"),
        ((320, 568), False, "dark"),
        ((390, 844), True, "dark"),
        ((1280, 800), True, "light"),
        ((1280, 800), False, "dark"),
        ((1280, 800), False, "light"),
        ((640, 400), False, "light"),  # 1280 x 800 at a zoom of 200 %
    ],
)
def test_layout_fits_the_screen_and_axe_finds_nothing(
    open_page: Callable[..., Visit], size: tuple[int, int], touch: bool, scheme: str
) -> None:
    """The whole zone is a button, the answer is visible, and nothing is wider than the screen."""
    width, height = size
    visit = open_page(
        viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch,
        color_scheme=scheme, reduced_motion="reduce",
    )  # fmt: skip
    back = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", back)[0]) < 128) == (scheme == "dark")

    def check(in_view: Locator | None = None) -> None:
        report = Axe().run(visit.page)
        assert report.violations_count == 0, report.generate_report()
        assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if in_view:
            expect(in_view).to_be_in_viewport(ratio=1)

    zone = visit.page.locator(".zone")
    check(zone)
    assert zone.inner_text().startswith("Take a photo" if touch else "Drop, paste or choose")
    assert zone.locator("input").get_attribute("capture") == ("environment" if touch else None)
    box = zone.bounding_box()
    assert box
    for x in (8, box["width"] / 2, box["width"] - 8):
        for y in (8, box["height"] / 2, box["height"] - 8):
            with visit.page.expect_file_chooser():
                zone.click(position={"x": x, "y": y})
    visit.page.evaluate("scrollTo(0, 9999)")
    visit.choose(SAMPLE.read_bytes())
    visit.sees("espresso")
    check(visit.status)
    visit.page.get_by_text("Details").click()
    visit.page.evaluate("() => { note('No picture.'); $('#secret').hidden = false; }")
    check()
    visit.choose(SAMPLE.read_bytes(), *["a.jpg"] * 12)
    expect(visit.page.locator("#count")).to_have_text("13 of 13 pictures")
    check(visit.status if height > 400 else None)
    visit.choose(b"text", "a.txt")
    visit.fails("not a picture")
    check(visit.status)


def test_screenshot_in_the_docs_is_true(
    open_page: Callable[..., Visit], request: pytest.FixtureRequest
) -> None:
    """`pytest --screenshots` makes it; fonts and times may differ, the layout may not."""
    visit = open_page(viewport={"width": 960, "height": 600}, device_scale_factor=1.25)
    visit.choose(SAMPLE.read_bytes(), "espresso.jpg")
    visit.sees("espresso")
    visit.page.evaluate("() => document.activeElement.blur()")
    shown = Image.open(io.BytesIO(visit.page.screenshot())).convert("RGB")
    path = ROOT / "docs" / "page.webp"
    if request.config.getoption("--screenshots"):
        shown.save(path, quality=80, method=6)
    with Image.open(path) as kept:
        assert kept.size == shown.size
        small = [each.convert("L").resize((60, 37)) for each in (kept, shown)]
    difference = np.abs(np.subtract(*[np.asarray(each, int) for each in small]))
    assert difference.mean() < 3, "the page has changed: run pytest --screenshots"


def test_keyboard_opens_the_file_chooser(visit: Visit) -> None:
    # Wait for the chooser before the first key: the browser handles keys independently.
    with visit.page.expect_file_chooser() as opened:
        visit.page.keyboard.press("Tab")
        chooser = visit.page.get_by_label("Drop, paste or choose pictures")
        expect(chooser).to_be_focused()
        outline = chooser.evaluate("(input) => getComputedStyle(input.parentNode).outlineStyle")
        assert outline == "solid"
        visit.page.keyboard.press("Space")
    opened.value.set_files(str(SAMPLE))
    visit.sees("espresso")
