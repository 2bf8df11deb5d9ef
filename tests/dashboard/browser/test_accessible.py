"""Every page can be used by everybody, in both themes, and the browser complains of none."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dashboard.browser.conftest import PASSWORD, Agent, OpenWindow, Server, Window, serious
from tests.dashboard.pages.everywhere import GETS, address_of
from tests.waiting import until

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.usefixtures("people")
SOON_MS = 20_000
SLIDE = "slides/lab/scope-1/slide-of-scope-1"
PARTS = {f"/slides/{{site}}/{{device}}/{{slide}}/{part}" for part in ("cells", "now", "review/cards")}
"""What is HTML, and a part of a page."""


@pytest.fixture
def server(pictured: Callable[..., Server], agent: Agent, tmp_path: Path) -> Server:
    """Two slides, of which one has pictures, and an agent that goes on."""
    made = pictured(**{"web.sign_in": "true"})
    agent("reviewed", **{"slide.id": "S-2"})

    def both() -> bool:
        with sqlite3.connect(f"file:{tmp_path / 'collector.sqlite'}?mode=ro", uri=True) as store:
            count: int = store.execute("select count(distinct slide_id) from slide").fetchone()[0]
            return count == 2

    assert until(both, 60)
    return made


def pages(window: Window, server: Server) -> dict[str, str]:
    """Addresses of the routes that answer with HTML, by their paths."""
    found = {}
    for door in GETS:
        address = address_of(door.path, slide="slide-of-scope-1").lstrip("/")
        if door.path == "/compare":
            address += "?slide=lab/scope-1/slide-of-scope-1&slide=lab/scope-1/S-2"
        if door.path == "/" or door.path.endswith((".pdf", ".zip")):  # leads to another page; files, made in seconds
            continue
        answer = window.page.request.head(server.address + address)
        if answer.headers.get("content-type", "").startswith("text/html"):
            assert answer.ok, address
            found[door.path] = address
    return found


def test_every_page_is_accessible_in_both_themes_and_complains_of_nothing(
    server: Server, open_window: OpenWindow
) -> None:
    window = open_window().sign_in(server, "adam")  # who may see most
    found = pages(window, server)
    assert found.keys() >= PARTS
    whole = found.keys() - PARTS
    assert len(whole) == 10, sorted(whole)
    for path in sorted(whole):
        window.page.goto(server.address + found[path])
        if path == "/agents/{site}/{device}":
            expect(window.page.locator("figure.view rect.box").first).to_be_visible(timeout=SOON_MS)
        assert serious(window.page) == [], path
    assert window.complaints == []
    window.page.goto(f"{server.address}nowhere")
    assert serious(window.page) == []
    window.forgive(status=404)
    refused(open_window(), server)
    reviewing(open_window(), server)


def refused(window: Window, server: Server) -> None:
    """The form of sign-in, before and after a wrong password, and a page that is not for readers."""
    page = window.page
    page.goto(f"{server.address}signin")
    assert serious(page) == []
    page.get_by_label("Name").fill("rita")
    page.get_by_label("Password").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Name and password do not belong together.")
    assert serious(page) == []
    window.forgive(status=401)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{server.address}{SLIDE}/review")
    expect(page.get_by_text("This needs the role reviewer.")).to_be_visible()
    assert serious(page) == []
    window.forgive(status=403)


def reviewing(window: Window, server: Server) -> None:
    """A review with a verdict, a selected cell and a note that is being written."""
    page = window.sign_in(server, "ada").page
    page.goto(f"{server.address}{SLIDE}/review")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#cells li.current[data-seen]")).to_have_count(1)
    page.keyboard.press("2")
    page.keyboard.press("x")
    page.keyboard.press("n")
    expect(page.locator("#noting")).to_be_visible()
    assert serious(page) == []
