"""Two readers who do not see each other, a third who settles what they differ in, and signatures, in real browsers."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.dashboard.browser.conftest import OpenWindow, Server, Window, serious

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.usefixtures("people")
SOON_MS = 20_000
SLIDE = "slides/lab/scope-1/slide-of-scope-1"
FILES = "cells.csv", "fhir.json", "report", "cells"
KEYS = {"1": "normal", "2": "blast", "3": "phantom"}


@pytest.fixture
def server(pictured: Callable[..., Server]) -> Server:
    return pictured(**{"web.sign_in": "true", "classes": '["phantom"]'})


def reads(window: Window, server: Server, keys: Callable[[int], str]) -> dict[str, str]:
    """Begin a reading and say of each cell what a key says; labels by cell."""
    page = window.page
    page.goto(f"{server.address}{SLIDE}/review")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#cells li.current")).to_have_count(1)  # the page is there, whole
    said = {}
    for number in range(page.locator("#cells li.cell").count()):
        current = page.locator("#cells li.current[data-seen]:not([data-verdict])")
        expect(current).to_have_count(1)
        said[str(current.get_attribute("data-id"))] = KEYS[keys(number)]
        page.keyboard.press(keys(number))
    expect(page.locator("#sending")).to_have_text("Everything is stored.", timeout=SOON_MS)
    return said


def sign(window: Window) -> None:
    window.page.locator("#sign").click()
    expect(window.page.locator("#signing")).to_have_text("")
    window.page.locator("#sure").get_by_role("button", name="Sign", exact=True).click()
    expect(window.page.locator("#signed")).to_contain_text("Signed by", timeout=SOON_MS)


def data(window: Window, server: Server) -> tuple[dict[str, Any], dict[str, str]]:
    """What the data routes say of the slide, and what people call its cells."""
    ask = window.page.request.get
    about = ask(f"{server.address}data/{SLIDE}").json()
    cells = ask(f"{server.address}data/{SLIDE}/cells?limit=1000").json()["cells"]
    return about, {one["object_id"]: one["label_reviewed"] for one in cells if one["label_reviewed"]}


def kappa_of(pairs: list[tuple[str, str]]) -> float:
    """Cohen's, by its definition."""
    first, second = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    chance = sum(first[label] * second[label] for label in first) / len(pairs) ** 2
    return (sum(one == other for one, other in pairs) / len(pairs) - chance) / (1 - chance)


def nothing_shows(window: Window, server: Server) -> None:
    """Look for what another has said, wherever the slide is told of."""
    about, cells = data(window, server)
    assert (cells, about["reviewed"]["apart"]) == ({}, {})
    for name in FILES:
        assert "phantom" not in window.page.request.get(f"{server.address}{SLIDE}/{name}").text(), name
    window.page.goto(server.address + SLIDE)
    expect(window.page.get_by_text("phantom")).to_have_count(0)


def looks_and_can_read_no_more(window: Window, server: Server) -> None:
    """Ask to see what is signed; a reading would not be independent then."""
    window.page.goto(f"{server.address}{SLIDE}/review")
    window.page.get_by_role("button", name="See what was signed").click()
    window.page.get_by_role("button", name="Begin").click()
    expect(window.page.get_by_text("would not be independent")).to_be_visible()
    window.forgive(status=409)
    window.page.goto(server.address + SLIDE)
    expect(window.page.get_by_text("Not among these: phantom 3")).to_be_visible()


def settle(window: Window, differing: list[str]) -> None:
    """Be refused a signature, say of each cell what it is, and sign."""
    page = window.page
    page.locator("#sign").click()
    expect(page.locator("#signing")).to_contain_text("3 cells of which verdicts differ")
    window.forgive(status=409)
    page.locator("#cells li.cell").first.click()
    for name, key in zip(differing, KEYS, strict=True):
        expect(page.locator(f'#cells li.current[data-seen][data-id="{name}"]')).to_have_count(1)
        page.keyboard.press(key)
    expect(page.locator("#progress")).to_contain_text("nobody has settled: 0.", timeout=SOON_MS)
    sign(window)


def test_a_third_person_settles_what_two_blind_readers_differ_in_and_signs(
    server: Server, open_window: OpenWindow
) -> None:
    ada, bob, carol = (open_window().sign_in(server, name) for name in ("ada", "bob", "carol"))
    of_ada = reads(ada, server, lambda number: "3" if number < 3 else "12"[number % 2])
    sign(ada)
    nothing_shows(carol, server)
    looks_and_can_read_no_more(carol, server)
    nothing_shows(bob, server)
    of_bob = reads(bob, server, lambda number: "12"[number % 2])
    expect(bob.page.locator("#cells [data-verdict=phantom], #cells .apart")).to_have_count(0)
    assert "ada:" not in bob.page.request.get(f"{server.address}{SLIDE}/review/cards").text()
    about, cells = data(bob, server)
    assert (cells, about["reviewed"]["kappa"]) == (of_bob, None)
    sign(bob)

    page = carol.page
    page.goto(f"{server.address}{SLIDE}/review")
    expect(page.locator("#progress")).to_have_text("Cells of which verdicts differ and that nobody has settled: 3.")
    differing = [str(one.get_attribute("data-id")) for one in page.locator("#cells li.cell").all()[:3]]
    assert {name for name in of_ada if of_ada[name] != of_bob[name]} == set(differing)
    expect(page.locator("#cells .apart")).to_have_text([f"ada: phantom; bob: {of_bob[name]}" for name in differing])
    kappa = kappa_of([(of_ada[name], of_bob[name]) for name in of_ada])
    agreed = f"The readings agree on {100 - 300 / len(of_ada):.1f} % of {len(of_ada)} cells. Cohen's kappa {kappa:.2f}."
    expect(page.get_by_text(agreed)).to_be_visible()
    assert serious(page) == []
    settle(carol, differing)

    about, cells = data(carol, server)
    assert cells == of_ada | dict(zip(differing, KEYS.values(), strict=True))
    assert about["reviewed"]["kappa"] == pytest.approx(kappa)
    signed = [(one["name"], one["reading"], one["outdated"]) for one in about["reviewed"]["signatures"]]
    assert signed == [("ada", "1", False), ("bob", "2", False), ("carol", "adjudication", False)]
    page.goto(server.address + SLIDE)
    expect(page.get_by_text("Signed by carol (Adjudication)")).to_be_visible()
    page.goto(f"{server.address}{SLIDE}/report")
    expect(page.get_by_text(f"Cohen's kappa {kappa:.2f}")).to_be_visible()
