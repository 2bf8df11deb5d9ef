"""What a person sees of microscopes, in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dashboard.browser.conftest import Agent, Launch, OpenWindow, Server, Window

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
SOON_MS = 20_000


def test_agents_appear_by_themselves_with_their_state_rate_and_slide(
    launch: Launch, agent: Agent, window: Window
) -> None:
    server = launch("seen")
    window.page.goto(server.address)
    expect(window.page.get_by_text("No agent was heard of yet")).to_be_visible()
    agent("seen", "scope-2")
    agent("seen", "scope-1")
    rows = window.page.locator("#agents tr")
    expect(rows).to_have_count(2, timeout=SOON_MS)
    expect(rows.first).to_contain_text("lab/scope-1")
    for row in rows.all():
        expect(row.locator(".state")).to_have_text("online", timeout=SOON_MS)
        expect(row).to_contain_text("a second", timeout=SOON_MS)
    expect(rows.first.get_by_role("link", name="slide-of-scope-1")).to_be_visible()
    expect(window.page.get_by_text("No agent was heard of yet")).to_be_hidden()


def test_one_agent_is_looked_through_and_its_cells_are_outlined_and_named(
    launch: Launch, agent: Agent, window: Window
) -> None:
    server = launch("looked")
    agent("looked")
    window.page.goto(server.address)
    window.page.get_by_role("link", name="lab/scope-1").click(timeout=SOON_MS)
    picture = window.page.locator("figure.view svg")
    expect(picture).to_be_visible(timeout=SOON_MS)
    boxes = picture.locator("rect.box")
    expect(boxes.first).to_be_visible(timeout=SOON_MS)
    assert picture.locator("text.name").count() == boxes.count()
    first = picture.locator("image").get_attribute("href")
    expect(picture.locator("image")).not_to_have_attribute("href", re.compile(re.escape(str(first))), timeout=SOON_MS)
    assert window.page.evaluate("document.querySelector('figure.view image').getBBox().width") > 100


def test_a_slide_is_started_and_stopped_and_the_audit_log_has_who_asked(
    launch: Launch, agent: Agent, window: Window, tmp_path: Path
) -> None:
    server = launch("asked")
    agent("asked")
    window.page.goto(f"{server.address}agents")
    window.page.get_by_role("link", name="lab/scope-1").click(timeout=SOON_MS)
    window.page.get_by_label("Slide", exact=True).fill("B-17")
    window.page.get_by_role("button", name="Start this slide").click()
    expect(window.page.locator("#said")).to_contain_text("what follows is counted", timeout=SOON_MS)
    expect(window.page.get_by_role("link", name="B-17")).to_be_visible(timeout=SOON_MS)
    window.page.get_by_role("button", name="Stop the slide").click()
    expect(window.page.locator("#said")).to_contain_text("the slide is closed", timeout=SOON_MS)
    [log] = (tmp_path / "scope-1" / "audit").glob("*.jsonl")
    started = [line for line in log.read_text().splitlines() if '"slide/start"' in line and '"request"' in line]
    assert len(started) == 1
    assert '"asked_by":"guest"' in started[0].replace(" ", "")


def test_a_page_says_that_it_is_old_while_the_server_is_away_and_goes_on_by_itself(
    launch: Launch, agent: Agent, window: Window
) -> None:
    server = launch("gone")
    agent("gone")
    window.page.goto(server.address)
    expect(window.page.locator("#agents tr .state")).to_have_text("online", timeout=SOON_MS)
    server.kill()
    expect(window.page.locator("#knowledge")).to_contain_text("what you see is old", timeout=SOON_MS)
    expect(window.page.locator("body")).to_have_class("silent")
    server.again()
    expect(window.page.locator("#knowledge")).to_contain_text("As of", timeout=SOON_MS)
    expect(window.page.locator("body")).not_to_have_class("silent", timeout=SOON_MS)
    window.complaints.clear()  # the browser complains of each attempt


def test_an_agent_that_is_killed_is_shown_as_lost(launch: Launch, agent: Agent, window: Window) -> None:
    server = launch("lost")
    process = agent("lost")
    window.page.goto(server.address)
    state = window.page.locator("#agents tr .state")
    expect(state).to_have_text("online", timeout=SOON_MS)
    process.kill()
    expect(state).to_have_text("offline", timeout=2 * SOON_MS)


HIDDEN = """(hidden) => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""Turning to another tab, which a browser without a screen does not have."""


def test_tabs_that_nobody_sees_leave_the_connections_to_the_one_that_is_looked_at(
    launch: Launch, window: Window
) -> None:
    server = launch("tabs")
    first = window.page
    first.goto(server.address)
    expect(first.locator("#knowledge")).to_contain_text("As of", timeout=SOON_MS)
    first.evaluate(HIDDEN, arg=True)
    for _ in range(7):
        tab = first.context.new_page()
        tab.goto(server.address)
        expect(tab.locator("#knowledge")).to_contain_text("As of", timeout=SOON_MS)
        tab.evaluate(HIDDEN, arg=True)
    expect(first.locator("body")).to_have_class("silent", timeout=SOON_MS)
    first.evaluate(HIDDEN, arg=False)
    expect(first.locator("body")).not_to_have_class("silent", timeout=SOON_MS)
    expect(first.locator("#knowledge")).to_contain_text("As of")


def test_commands_go_and_come_back_with_the_microscope_and_what_was_typed_stays(
    launch: Launch, agent: Agent, window: Window
) -> None:
    server = launch("switched")
    process = agent("switched")
    window.page.goto(server.address)
    window.page.get_by_role("link", name="lab/scope-1").click(timeout=SOON_MS)
    field, start = window.page.get_by_label("Slide", exact=True), window.page.get_by_role("button", name="Start this")
    expect(start).to_be_enabled(timeout=SOON_MS)
    expect(window.page.locator("figure.view image")).to_be_visible(timeout=SOON_MS)
    field.fill("B-17")
    process.terminate()
    expect(start).to_be_disabled(timeout=SOON_MS)
    expect(window.page.locator("#off")).to_contain_text("The microscope was stopped and takes no commands.")
    expect(window.page.locator("figure.view figcaption")).to_contain_text("This is the last picture", timeout=SOON_MS)
    process.wait(30)
    agent("switched")
    expect(start).to_be_enabled(timeout=2 * SOON_MS)
    expect(window.page.locator("#off")).to_be_hidden()
    expect(field).to_have_value("B-17")


def test_a_slide_is_started_and_its_answer_read_without_scrolling(
    launch: Launch, agent: Agent, open_window: OpenWindow
) -> None:
    server = launch("unscrolled")
    agent("unscrolled")
    page = open_window(viewport={"width": 1440, "height": 900}).page
    page.goto(server.address)
    page.get_by_role("link", name="lab/scope-1").click(timeout=SOON_MS)
    expect(page.locator("figure.view image")).to_be_visible(timeout=SOON_MS)
    start, stop = (page.get_by_role("button", name=name) for name in ("Start this slide", "Stop the slide"))
    for seen in (start, stop):
        expect(seen).to_be_in_viewport(ratio=1)
    page.get_by_label("Slide", exact=True).fill("B-17")
    start.click()
    answer = page.locator("#said")
    expect(answer).to_contain_text("what follows is counted", timeout=SOON_MS)
    expect(answer).to_be_in_viewport(ratio=1)
    assert page.evaluate("scrollY") == 0
    page.set_viewport_size({"width": 800, "height": 400})
    stop.click()
    expect(answer).to_contain_text("the slide is closed", timeout=SOON_MS)
    expect(answer).to_be_in_viewport(ratio=1)
    expect(answer).to_be_focused()


def test_pages_that_do_not_change_by_themselves_say_how_old_they_are(
    pictured: Callable[..., Server], window: Window
) -> None:
    address, page = pictured().address, window.page
    slide, age = f"{address}slides/lab/scope-1/slide-of-scope-1", page.locator("#age")
    for opened in (f"{address}slides", slide, f"{slide}/review"):
        page.goto(opened)
        expect(age).to_have_text(re.compile(r"^As of \d+ s ago: load the page again for what has come since\.$"))
    page.clock.install()
    page.goto(slide)
    page.clock.fast_forward(130_000)
    expect(age).to_contain_text("As of 2 min ago", timeout=SOON_MS)


def test_a_slow_click_and_the_focus_outlast_the_reports_that_come_meanwhile(
    launch: Launch, agent: Agent, window: Window
) -> None:
    server = launch("clicked")
    agent("clicked")
    page = window.page
    page.goto(server.address)
    link, seen = page.get_by_role("link", name="lab/scope-1"), page.locator("#agents [data-captured]")
    expect(seen).to_be_visible(timeout=3 * SOON_MS)

    def a_newer_report() -> None:
        before = str(seen.get_attribute("data-captured"))
        expect(seen).not_to_have_attribute("data-captured", before, timeout=SOON_MS)

    link.focus()
    a_newer_report()
    expect(link).to_be_focused()
    link.hover()
    page.mouse.down()
    a_newer_report()
    page.mouse.up()
    page.wait_for_url("**/agents/lab/scope-1")
    expect(page.locator("figure.view figcaption")).to_contain_text(
        "The number in the picture is how probable a blast is", timeout=SOON_MS
    )
