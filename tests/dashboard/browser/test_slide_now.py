"""The page of a slide that is still open, in a real browser: it goes on by itself, and says how old it is."""

import re

import pytest

from tests.dashboard.browser.conftest import Agent, Launch, Window, serious
from tests.waiting import until

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
SOON_MS = 40_000
SLIDE = "slides/lab/scope-1/slide-of-scope-1"


def test_the_counts_of_an_open_slide_go_on_and_their_age_is_always_said(
    launch: Launch, agent: Agent, window: Window
) -> None:
    server, page = launch("now"), window.page
    agent("now")
    assert until(lambda: page.request.get(f"{server.address}data/{SLIDE}").ok, 40)
    page.goto(f"{server.address}{SLIDE}")
    expect(page.locator("#as-of")).to_have_text(re.compile(r"Counts as of \S+ \S+ UTC, \d s ago\."))
    expect(page.locator("#newer")).to_be_hidden()
    frames = page.locator("#now p").first.text_content()
    expect(page.locator("#now p").first).not_to_have_text(frames or "", timeout=SOON_MS)
    expect(page.locator("#newer")).to_contain_text("the map and the cells below are not")
    assert serious(page) == []
    page.route("**/now", lambda route: route.abort())
    expect(page.locator("#as-of")).to_have_class("alarm", timeout=SOON_MS)
    expect(page.locator("#as-of")).to_have_text(re.compile(r"3\d s ago\."))
    window.complaints = [one for one in window.complaints if not one.endswith("/now")]  # the ones that were cut off
