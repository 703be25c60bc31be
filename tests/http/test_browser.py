"""The page at /docs in a real Chromium, over loopback TCP with a token; and what a page of another site cannot do."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import checked_subjects as subjects
import pytest
import roundhouse as rh
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
TIMEOUT_MS = 20_000

if CHROMIUM is None:
    pytest.skip("there is no chromium: `tools/setup.sh browser` installs it", allow_module_level=True)


class Door:
    """A node that listens on loopback."""

    def __init__(self, box: rh.Cluster) -> None:
        self.box = box
        self.url = box.listen().url
        self.token = box.create_token("page")

    def calls(self) -> int:
        return int(self.box.status()["calls"])


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with rh.compute("browser") as box:
        for function in (subjects.scale, subjects.tally, subjects.countdown, subjects.refuse):
            rh.function(function).to(box)
        rh.cls(subjects.Digits).to(box)(name="digits")
        yield Door(box)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        # Its sandbox refuses to run as root, which is who runs tests in many a container; what it opens is our own.
        browser = play.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, door: Door) -> Iterator[Page]:
    """The page, with its token; whatever it complains about fails the test."""
    complaints: list[str] = []
    # A viewport of a laptop, and a context of its own: no test finds another's token.
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(TIMEOUT_MS)

    def said(message: ConsoleMessage) -> None:
        # That a call failed is what some tests are about; Chromium says it here as well.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{door.url}/docs")
    expect(page.locator("main")).to_contain_text("wants a token")
    page.get_by_label("Token").fill(door.token)
    page.get_by_label("Token").press("Enter")
    expect(page.locator("main h1")).to_have_text("Roundhouse", timeout=TIMEOUT_MS)
    yield page
    page.close()
    assert complaints == []


def card(page: Page, title: str) -> object:
    return page.locator("section.card", has=page.get_by_role("heading", name=title, exact=True))


def test_it_lists_what_lives_there(page: Page) -> None:
    for name in ("scale", "tally", "countdown", "refuse", "Digits", "digits"):
        expect(page.locator("main").get_by_role("heading", name=name, exact=True)).to_be_visible()
    expect(page.locator("main")).to_contain_text("Moves a point away from the origin.")
    page.get_by_label("Find a method").fill("predict")
    # The service's own link stands above those of its methods.
    expect(page.locator("nav details > a")).to_have_count(1)
    expect(page.locator("nav details > a")).to_contain_text("predict")


def test_a_call_through_the_form(page: Page, door: Door) -> None:
    page.locator("main a", has_text="Counts words.").click()
    expect(page.locator("main h1")).to_have_text("tally")
    page.locator("#field-words").fill('["one", "two", "three", "four"]')
    page.locator("#field-colour").select_option("green")
    page.locator("#field-mode").select_option("many")
    before = door.calls()
    page.get_by_role("button", name="Call").click()
    result = card(page, "Result").locator("pre")
    expect(result).to_contain_text('"count": 4', timeout=TIMEOUT_MS)
    expect(result).to_contain_text('"colour": "green"')
    expect(page.get_by_role("status")).to_contain_text("200")
    assert door.calls() == before + 1
    shell = card(page, "The same from a shell").locator("pre")
    expect(shell).to_contain_text(f"{door.url}/v1/services/tally")


def test_what_is_no_json_is_not_sent(page: Page, door: Door) -> None:
    page.locator("main a", has_text="Counts words.").click()
    page.locator("#field-words").fill("[one")
    before = door.calls()
    page.get_by_role("button", name="Call").click()
    expect(page.locator(".wrong:visible")).to_contain_text("This is not JSON")
    assert door.calls() == before


def test_a_generator_comes_item_by_item(page: Page) -> None:
    page.locator("main a", has_text="Counts down, and says so.").click()
    page.locator("#field-start").fill("3")
    page.get_by_role("button", name="Stream").click()
    items = card(page, "Items").locator(".item")
    expect(items).to_have_count(3, timeout=TIMEOUT_MS)
    expect(items.nth(0)).to_contain_text('"3 left"')
    expect(items.nth(2)).to_contain_text('"1 left"')
    expect(card(page, "Output").locator("pre")).to_contain_text("at 3")


def test_an_exception_is_shown_with_its_traceback(page: Page) -> None:
    page.locator("main a", has_text="Raises, whatever it is given.").click()
    page.locator("#field-amount").fill("7")
    page.get_by_role("button", name="Call").click()
    failed = card(page, "It failed")
    expect(failed).to_contain_text("ValueError: no 7 <b>here</b>", timeout=TIMEOUT_MS)
    expect(failed.locator("pre")).to_contain_text("Traceback (most recent call last)")
    expect(failed.locator("pre")).to_contain_text("in refuse")


def test_arguments_that_do_not_fit(page: Page) -> None:
    page.locator("main a", has_text="Moves a point away from the origin.").click()
    page.locator("#field-point").fill('{"x": "far"}')
    page.get_by_role("button", name="Call").click()
    expect(card(page, "It failed")).to_contain_text("argument 'point'", timeout=TIMEOUT_MS)


def test_the_page_of_one_service(page: Page, door: Door) -> None:
    page.goto(f"{door.url}/digits/docs")
    expect(page.locator("main h1")).to_have_text("digits", timeout=TIMEOUT_MS)
    page.locator("main a", has_text="Whether it has learned.").click()
    expect(page.locator("main")).to_contain_text("readonly")
    page.get_by_role("button", name="Call").click()
    expect(card(page, "Result").locator("pre")).to_have_text("false", timeout=TIMEOUT_MS)


# --- another site ---


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a page that is another site to the node: its port and its host are others."""
    folder: Path = tmp_path_factory.mktemp("elsewhere")
    (folder / "index.html").write_text("<!doctype html><title>elsewhere</title><body><iframe name=inside></iframe>")
    (folder / "favicon.ico").write_bytes(b"")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def stranger(browser: Browser, elsewhere: str) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(elsewhere)
    expect(page).to_have_title("elsewhere")
    yield page
    page.close()


FETCH = """async ([url, options]) => {
  try { const answer = await fetch(url, options); return [answer.type, answer.status, await answer.text()]; }
  catch (error) { return ["refused", 0, ""]; }
}"""
BODY = '{"words": ["a"]}'


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("/v1/services/tally", {"method": "POST", "mode": "no-cors", "body": BODY}),
        ("/v1/services/tally", {"method": "POST", "mode": "no-cors"}),
        ("/tally/call", {"method": "POST", "mode": "no-cors", "body": BODY}),
        ("/v1/services/tally", {"method": "POST", "body": BODY, "headers": {"Content-Type": "application/json"}}),
        ("/v1/services/tally", {"method": "POST", "body": BODY, "headers": {"Authorization": "TOKEN"}}),
        ("/v1/services/tally/call?words=a", {"mode": "no-cors"}),
        ("/v1/services/digits/is_trained", {"mode": "no-cors"}),
        ("/v1/services/digits/is_trained", {"headers": {"Authorization": "TOKEN"}}),
        ("/v1/services/tally", {"method": "DELETE", "headers": {"Authorization": "TOKEN"}}),
        ("/v1/status", {}),
        ("/v1/check", {}),
    ],
)
def test_another_site_calls_and_reads_nothing(
    stranger: Page, door: Door, target: str, options: dict[str, object]
) -> None:
    text = dict(options)
    if "headers" in text:
        # Even one that has the token has it for nothing: the node asks where a request comes from.
        given = {k: v.replace("TOKEN", f"Bearer {door.token}") for k, v in dict(options["headers"]).items()}  # type: ignore[call-overload]
        text["headers"] = given
    before = door.calls()
    statuses: list[int] = []
    stranger.on("response", lambda answer: statuses.append(answer.status) if target in answer.url else None)
    kind, status, body = stranger.evaluate(FETCH, [door.url + target, text])
    assert (kind, status, body) in (("refused", 0, ""), ("opaque", 0, "")), (kind, status)
    assert all(status == 403 for status in statuses), statuses
    assert door.calls() == before
    assert {service["name"] for service in door.box.status()["services"]} >= {"tally", "digits"}


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"])
@pytest.mark.parametrize("target", ["/v1/services/tally", "/tally/call", "/v1/services"])
def test_a_form_of_another_site_calls_nothing(stranger: Page, door: Door, target: str, kind: str) -> None:
    before = door.calls()
    # What a form of type text/plain sends looks like JSON, if its one field is called as this.
    script = """([url, kind]) => {
      const form = document.createElement("form"), field = document.createElement("input");
      form.action = url; form.method = "POST"; form.enctype = kind; form.target = "inside";
      field.name = '{"words": ["a"], "mode": "'; field.value = 'few"}';
      form.append(field); document.body.append(form); form.submit();
    }"""
    with stranger.expect_response(re.compile(re.escape(door.url + target))) as answer:
        stranger.evaluate(script, [door.url + target, kind])
    assert answer.value.status == 403
    assert door.calls() == before


def test_the_page_is_in_nobodys_frame(stranger: Page, door: Door) -> None:
    expect(stranger.locator("iframe")).to_be_attached()
    with stranger.expect_response(re.compile(re.escape(f"{door.url}/docs"))) as answer:
        stranger.evaluate("url => { document.querySelector('iframe').src = url }", f"{door.url}/docs")
    assert answer.value.status == 403
