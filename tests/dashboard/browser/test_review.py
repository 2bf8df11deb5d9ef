"""A person reviews a slide by keyboard, in a real browser."""

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.page import cell, report
from contract.messages import Join
from tests.dashboard.browser.conftest import Launch, OpenWindow, Server, Window, serious
from tests.dashboard.conftest import Keep
from tests.waiting import until

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
SOON_MS = 20_000
SLIDE = "slides/lab/scope-1/slide-of-scope-1"


@pytest.fixture
def slide(pictured: Callable[..., Server]) -> Server:
    """A slide with pictures on a page without sign-in."""
    return pictured()


def stored(folder: Path) -> list[tuple[str, str, str]]:
    """Cell, kind and label of each verdict, in their order."""
    with sqlite3.connect(f"file:{folder / 'reviews.sqlite'}?mode=ro", uri=True) as reviews:
        return reviews.execute("select object_id, kind, label from verdict order by id").fetchall()


def sign(page: Any) -> None:
    """Sign, and be sure."""
    page.locator("#sign").click()
    page.locator("#sure").get_by_role("button", name="Sign", exact=True).click()
    expect(page.locator("#signed")).to_contain_text("Signed by", timeout=SOON_MS)


def test_a_slide_is_read_by_keyboard_and_signed_when_no_uncertain_cell_is_left(
    slide: Server, window: Window, tmp_path: Path
) -> None:
    page = window.page
    page.goto(f"{slide.address}{SLIDE}/review")
    page.get_by_role("button", name="Begin").click()
    cards = page.locator("#cells li.cell")
    expect(cards.first).to_have_class("cell review current")
    page.locator("#sign").click()
    expect(page.locator("#signing")).to_contain_text(re.compile("uncertain cells? not reviewed"))
    count = cards.count()
    cards.first.click()  # the keyboard was with the button
    keys = ["Enter", "1", "2", "3", "u"]
    for number in range(count):
        expect(page.locator("#cells li.current[data-seen]")).to_have_count(1)
        page.keyboard.press(keys[number % len(keys)])
    expect(page.locator("#progress")).to_contain_text(
        f"{count} of {count} cells reviewed, uncertain ones left: 0.", timeout=SOON_MS
    )
    expect(page.locator("#sending")).to_have_text("Everything is stored.", timeout=SOON_MS)
    verdicts = stored(tmp_path)
    assert len(verdicts) == len({cell for cell, *_ in verdicts}) == count
    assert [label for *_, label in verdicts][3] == "smudge"
    sign(page)
    page.goto(f"{slide.address}{SLIDE}")
    expect(page.get_by_text("Signed by guest")).to_be_visible()
    window.complaints.clear()  # of the first attempt to sign, which the server refuses


def test_a_page_that_is_loaded_again_half_way_down_shows_the_next_cell_and_takes_the_next_key(
    launch: Launch, keep: Keep, window: Window, tmp_path: Path
) -> None:
    """A browser goes back to where it was scrolled, where the bar may hide that cell: no key would count."""
    keep(report(1, seq, [cell(1, seq, n, 0.5) for n in range(1, 5)]) for seq in range(1, 21))
    server = launch("again", collect="false")
    page = window.page
    page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
    page.get_by_role("button", name="Begin").click()
    for number in range(1, 6):
        expect(page.locator("#cells li.current[data-seen]:not([data-verdict])")).to_have_count(1, timeout=SOON_MS)
        page.keyboard.press("1")
        expect(page.locator("#sending")).to_have_text("Everything is stored.")
        page.evaluate(f"window.scrollTo(0, {number * 130})")
        page.reload()
    expect(page.locator("#cells li.current[data-seen]:not([data-verdict])")).to_have_count(1)
    assert len(stored(tmp_path)) == 5


def test_no_cell_is_left_out_when_the_order_changes_while_it_is_read_and_new_cells_come(
    launch: Launch, keep: Keep, window: Window
) -> None:
    """The page has 120 cells at a time, and what is said of the first ones puts them behind all others."""
    keep(report(1, seq, [cell(1, seq, n, 0.5) for n in range(1, 5)]) for seq in range(1, 71))
    server = launch("rest", collect="false")
    page = window.page
    page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
    page.get_by_role("button", name="Begin").click()
    page.goto(f"{server.address}slides/lab/scope-1/slide-7/review?order=to_do")
    for number in range(1, 9):
        expect(page.locator("#cells li.current[data-seen]:not([data-verdict])")).to_have_count(1)
        page.keyboard.press("1")
        expect(page.locator("#progress")).to_contain_text(f"{number} of 280 cells reviewed")
    expect(page.locator("#sending")).to_have_text("Everything is stored.")
    assert page.locator("#cells li.cell").count() == 120
    keep(report(1, seq, [cell(1, seq, 1, 0.9)]) for seq in (71, 72, 73))
    for least in (121, 241):
        page.locator("#cells [data-rest]").scroll_into_view_if_needed()
        page.wait_for_function("(least) => document.querySelectorAll('#cells li.cell').length >= least", arg=least)
    names = [one.get_attribute("data-id") for one in page.locator("#cells li.cell").all()]
    assert (len(names), len(set(names))) == (283, 283)


def test_each_key_counts_on_the_page_while_the_server_is_away(launch: Launch, keep: Keep, window: Window) -> None:
    keep([report(1, 1, [cell(1, 1, n, 0.5) for n in range(1, 5)])])
    server = launch("away", collect="false")
    page = window.page
    page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#cells li[data-seen]")).to_have_count(4)
    server.kill()
    for number in range(1, 4):
        page.keyboard.press("1")
        expect(page.locator("#progress")).to_have_text(
            f"{number} of 4 cells reviewed, uncertain ones left: {4 - number}."
        )
    window.complaints.clear()


def test_what_was_said_while_the_server_was_away_is_stored_once_when_it_is_back(
    slide: Server, window: Window, tmp_path: Path
) -> None:
    page = window.page
    page.goto(f"{slide.address}{SLIDE}/review")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#cells li[data-seen]").nth(3)).to_be_visible()
    page.keyboard.press("1")
    expect(page.locator("#sending")).to_have_text("Everything is stored.")
    slide.kill()
    page.keyboard.press("2")
    page.keyboard.press("3")
    expect(page.locator("#sending")).to_have_text("2 not stored yet")
    kept = page.evaluate("localStorage.getItem(KEPT)")
    assert len([call for call in json.loads(kept) if call["path"] == "verdicts"]) == 2
    slide.again()
    page.wait_for_timeout(300)
    if "refused" in page.locator("#cells").inner_html():
        raise AssertionError(page.locator("#signing").inner_text())
    page.reload()  # another server knows a guest by another word
    expect(page.locator("#sending")).to_have_text("Everything is stored.", timeout=SOON_MS)
    assert [kind for _, kind, _ in stored(tmp_path)] in (
        ["correct"] * 3,
        ["confirm", "correct", "correct"],
        ["correct", "confirm", "correct"],
    )
    assert len({cell for cell, *_ in stored(tmp_path)}) == 3
    window.complaints.clear()


def test_who_signs_is_told_what_is_signed_and_afterwards_no_key_counts_until_the_signature_is_withdrawn(
    launch: Launch, keep: Keep, window: Window, tmp_path: Path
) -> None:
    keep([report(1, 1, [cell(1, 1, n, share) for n, share in enumerate((0.9, 0.85, 0.1, 0.2), start=1)])])
    server = launch("signs", collect="false")
    page = window.page
    page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#cells li[data-seen]")).to_have_count(4)
    page.keyboard.press("1")
    page.locator("#sign").click()
    sure = page.locator("#sure")
    expect(sure).to_contain_text(
        "You sign as guest: 1 of 4 cells reviewed. Cells that the model calls blast and that you have not reviewed: 1."
    )
    assert serious(page) == []
    page.keyboard.press("2")  # meant for no cell
    sure.get_by_role("button", name="Not yet").click()
    expect(sure).to_be_hidden()
    expect(page.locator("#sign")).to_be_visible()
    assert len(stored(tmp_path)) == 1
    sign(page)
    expect(page.locator("#signed")).to_contain_text("Signed by guest (First reading)")
    expect(page.locator(".keys button[data-label]").first).to_be_disabled()
    page.locator("#cells li.cell").first.click()
    page.keyboard.press("2")
    expect(page.locator("#told")).to_contain_text("withdraw your signature first")
    expect(page.locator("#cells li.cell").first).to_have_attribute("data-verdict", "normal")
    assert serious(page) == []
    page.locator("#signed").get_by_label("Reason").fill("the wrong slide")
    page.locator("#signed").get_by_role("button", name="Withdraw this signature").click()
    expect(page.locator("#signed")).to_have_count(0)
    expect(page.locator("#cells li.current[data-seen]")).to_have_count(1)
    page.keyboard.press("2")
    expect(page.locator("#cells li[data-verdict]")).to_have_count(2)


def test_a_verdict_that_is_refused_stands_nowhere_and_the_page_goes_back_to_its_cell(
    launch: Launch, keep: Keep, open_window: OpenWindow
) -> None:
    """It is signed in another window meanwhile."""
    keep([report(1, 1, [cell(1, 1, n, 0.1) for n in range(1, 5)])])
    server = launch("refused", collect="false")
    one, other = open_window(), open_window()
    for window in (one, other):
        window.page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
        if window is one:
            window.page.get_by_role("button", name="Begin").click()
        expect(window.page.locator("#cells li[data-seen]")).to_have_count(4)
    sign(other.page)
    page = one.page
    page.keyboard.press("2")
    expect(page.locator("#told.alarm")).to_contain_text("signed by guest")
    expect(page.locator("#cells li.current.refused")).to_have_attribute("data-id", "run1-s1-c5")
    expect(page.locator("#cells li[data-verdict]")).to_have_count(0)
    expect(page.locator("#progress")).to_contain_text("0 of 4 cells reviewed")
    one.forgive(status=409)


def test_a_click_with_shift_selects_a_range_and_one_with_ctrl_a_cell(
    launch: Launch, keep: Keep, window: Window
) -> None:
    keep(report(1, seq, [cell(1, seq, n, 0.1) for n in range(1, 5)]) for seq in (1, 2))
    server = launch("range", collect="false")
    page = window.page
    page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
    page.get_by_role("button", name="Begin").click()
    cards = page.locator("#cells li.cell")
    cards.nth(1).click()
    cards.nth(3).click(modifiers=["Shift"])
    cards.nth(5).click(modifiers=["Control"])
    expect(page.locator("#selected")).to_have_text("4 selected")
    chosen = page.evaluate("cards().map((card, at) => (card.classList.contains('selected') ? at : -1))")
    assert [at for at in chosen if at >= 0] == [1, 2, 3, 5]


def test_many_cells_are_labelled_at_once_and_taken_back_at_once(slide: Server, window: Window, tmp_path: Path) -> None:
    page = window.page
    page.goto(f"{slide.address}{SLIDE}/review")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#cells li[data-seen]").nth(4)).to_be_visible()
    for _ in range(3):
        page.keyboard.press("x")
        page.keyboard.press("ArrowRight")
    expect(page.locator("#selected")).to_have_text("3 selected")
    page.keyboard.press("4")
    expect(page.locator("#sending")).to_have_text("Everything is stored.")
    assert [label for *_, label in stored(tmp_path)] == ["artefact"] * 3
    page.keyboard.press("z")
    expect(page.locator("#cells li.cell[data-verdict]")).to_have_count(0)
    assert until(lambda: [kind for _, kind, _ in stored(tmp_path)][3:] == ["undo"] * 3, 10)
    page.keyboard.press("z")
    expect(page.locator("#told")).to_have_text("There is nothing to take back.")


def test_z_takes_back_what_was_said_last_and_goes_back_to_that_cell(
    launch: Launch, keep: Keep, window: Window, tmp_path: Path
) -> None:
    keep([report(1, 1, [cell(1, 1, n, 1 - n / 10) for n in range(1, 5)])])
    server = launch("undo", collect="false")
    page = window.page
    page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
    page.get_by_role("button", name="Begin").click()
    cards = page.locator("#cells li.cell")
    expect(page.locator("#cells li[data-seen]")).to_have_count(4)
    page.keyboard.press("2")
    page.keyboard.press("1")
    expect(cards.nth(2)).to_have_class("cell review current")
    for place, left in ((1, 1), (0, 0)):
        page.keyboard.press("z")
        expect(cards.nth(place)).to_have_class("cell review current")
        expect(page.locator("#told")).to_have_text(f"Taken back: c{5 + place}")
        expect(page.locator("#progress")).to_contain_text(f"{left} of 4 cells")
    expect(page.locator("#sending")).to_have_text("Everything is stored.")
    assert [(cell[-2:], kind) for cell, kind, _ in stored(tmp_path)][2:] == [("c6", "undo"), ("c5", "undo")]
    page.keyboard.press("2")
    expect(page.locator("#sending")).to_have_text("Everything is stored.")
    page.reload()
    cards.first.click()
    expect(page.locator("#cells li.current[data-seen]")).to_have_count(1)
    page.keyboard.press("z")  # of an earlier visit
    expect(page.locator("#cells li[data-verdict]")).to_have_count(0)
    page.reload()
    expect(page.locator("#progress")).to_contain_text("0 of 4 cells")


def test_a_key_for_a_cell_that_is_not_on_the_screen_says_so_and_brings_it_up(
    launch: Launch, keep: Keep, window: Window
) -> None:
    keep(report(1, seq, [cell(1, seq, n, 0.5) for n in range(1, 5)]) for seq in range(1, 26))
    server = launch("unseen", collect="false")
    page = window.page
    page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#cells li.current[data-seen]")).to_have_count(1)
    last = page.locator("#cells li.cell").last
    page.evaluate("look(cards().at(-1)); window.scrollTo(0, 0); say('unsure')")
    expect(page.locator("#told")).to_contain_text("the cell was not on the screen")
    expect(last).to_be_in_viewport(ratio=1)
    expect(last).to_have_attribute("data-seen", "yes")
    page.keyboard.press("u")
    expect(last).to_have_attribute("data-verdict", "uncertain")
    expect(page.locator("#told")).to_have_text("")


def test_a_key_for_a_cell_whose_picture_is_not_loaded_says_so(slide: Server, window: Window) -> None:
    page = window.page
    page.goto(f"{slide.address}{SLIDE}/review")
    page.route("**/pictures/*/cells/*", lambda _: None)  # never answered
    page.get_by_role("button", name="Begin").click()
    page.locator("#cells li.cell:has(img)").first.click()  # those of the last frames have none
    expect(page.locator("#cells li.current img")).to_have_count(1)
    page.wait_for_timeout(500)
    page.keyboard.press("1")
    expect(page.locator("#told")).to_contain_text("picture is not loaded yet")
    expect(page.locator("#cells li[data-verdict]")).to_have_count(0)


def test_two_cells_that_turn_out_to_be_one_come_back_to_who_has_called_them_differently(
    launch: Launch, keep: Keep, window: Window
) -> None:
    keep([report(1, 1, [cell(1, 1, number, share) for number, share in enumerate((0.9, 0.1, 0.05), start=1)])])
    server = launch("joined", collect="false")
    page = window.page
    page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
    page.get_by_role("button", name="Begin").click()
    for number, key in enumerate("211"):
        expect(page.locator("#cells li[data-verdict]")).to_have_count(number)
        expect(page.locator("#cells li.current[data-seen]")).to_have_count(1)
        page.keyboard.press(key)
    expect(page.locator("#sending")).to_have_text("Everything is stored.")
    one, other = (cell(1, 1, number, 0.5).object_id for number in (1, 2))
    keep([report(1, 2).model_copy(update={"joined": Join(part=2, x=0, y=0, same={other: one})})])
    page.reload()
    expect(page.locator("#cells li.cell")).to_have_count(2)
    again = page.locator("#cells li.cell:has(.apart)")
    expect(again.locator(".apart")).to_have_text("guest: blast; guest: normal. What were two cells is one: look again.")
    expect(page.locator("#progress")).to_contain_text("1 of 2 cells reviewed, uncertain ones left: 1.")
    page.locator("#sign").click()
    expect(page.locator("#signing")).to_contain_text("1 uncertain cell not reviewed: c5.")
    page.get_by_role("link", name="Show these cells first").click()
    page.wait_for_url("**order=to_do")
    expect(page.locator("#cells li.cell").first).to_have_attribute("data-id", one)
    window.forgive(status=409)
    again.click()
    expect(page.locator("#cells li.current[data-seen]")).to_have_count(1)
    page.keyboard.press("2")
    expect(page.locator("#progress")).to_contain_text("2 of 2 cells reviewed, uncertain ones left: 0.", timeout=SOON_MS)
    sign(page)
    page.reload()
    expect(page.locator(".apart")).to_have_count(0)
