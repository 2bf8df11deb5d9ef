"""Each role sees what it may, has no control for what it may not, and is refused in words where it asks anyway."""

import json
from pathlib import Path

import pytest

from bench.page import cell, report
from dashboard.records import SlideKey
from dashboard.reviews.store import ReviewStore
from tests.dashboard.browser.conftest import Agent, Launch, OpenWindow, Server, Window
from tests.dashboard.conftest import Keep

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.usefixtures("people")
SOON_MS = 20_000
AGENT = "agents/lab/scope-1"
SLIDE = "slides/lab/scope-1/slide-7"
POST = """async ([path, body]) => {
    const answer = await fetch(path, {method: "POST", body: body && JSON.stringify(body), headers: {
        accept: "application/json", "content-type": "application/json", "x-csrf-token": document.body.dataset.csrf}});
    return [answer.status, (await answer.json()).error];
}"""
"""What somebody does who knows our addresses and has a page of ours open."""
FOUR = report(1, 1, [cell(1, 1, number, share) for number, share in enumerate((0.9, 0.95, 0.1, 0.05), start=1)])
NEEDS_REVIEWER = 403, "This needs the role reviewer."


def post(window: Window, path: str, body: object = None) -> tuple[int, str]:
    """Code and text of an answer to a request that no control of the page makes."""
    status, said = window.page.evaluate(POST, [f"/{path}", body])
    window.forgive(status=status)
    return status, said


def pressed(window: Window, button: str, said: str) -> None:
    """Press a button of the commands, and see what came of it."""
    window.page.get_by_role("button", name=button).click()
    expect(window.page.locator("#said")).to_have_text(said, timeout=SOON_MS)


def test_a_reviewer_commands_and_the_agents_log_has_the_name_and_a_reader_can_not(
    launch: Launch, agent: Agent, open_window: OpenWindow, tmp_path: Path
) -> None:
    server = launch("commanded", **{"web.sign_in": "true"})
    agent("commanded", **{"mqtt.commands": '["source/restart", "model/reload"]'})
    rita = open_window().sign_in(server, "rita")
    rita.page.get_by_role("link", name="lab/scope-1").click(timeout=SOON_MS)
    expect(rita.page.locator("figure.view")).to_be_visible()
    expect(rita.page.locator("form.command")).to_have_count(0)
    for name in ("slide/start", "slide/stop", "source/restart", "model/reload"):
        assert post(rita, f"{AGENT}/command/{name}") == NEEDS_REVIEWER
    ada = open_window().sign_in(server, "ada")
    ada.page.goto(server.address + AGENT)
    pressed(ada, "Open the camera again", "Done: the source was opened again.")
    pressed(ada, "Load the model again", "Done: the model was loaded again.")
    ada.page.get_by_role("button", name="Stop the slide").click()
    expect(ada.page.locator("#said")).to_contain_text("mqtt.commands", timeout=SOON_MS)
    ada.forgive(status=502)
    [log] = (tmp_path / "scope-1" / "audit").glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    of_people = ("source/restart", "model/reload")
    commands = [line["facts"] for line in lines if line["event"] == "command"]
    asked = [(one["command"], one["request"]) for one in commands if one["command"] in of_people]
    assert asked == [(name, {"asked_by": "ada"}) for name in of_people]
    done = [line["facts"]["command"] for line in lines if line["event"] == "command_done"]
    assert [name for name in done if name in of_people] == [*of_people]


@pytest.fixture
def server(launch: Launch, keep: Keep) -> Server:
    """A slide of four cells, of which none is uncertain."""
    keep([FOUR])
    return launch("roles", collect="false", **{"web.sign_in": "true"})


def reads(window: Window, server: Server) -> None:
    """Begin a reading, and look at every cell."""
    window.page.goto(f"{server.address}{SLIDE}/review")
    window.page.get_by_role("button", name="Begin").click()
    expect(window.page.locator("#cells li[data-seen]")).to_have_count(4)


def test_an_administrator_frees_readings_and_withdraws_signatures_and_nobody_else_those_of_others(
    server: Server, open_window: OpenWindow
) -> None:
    ada, bob, adam = (open_window().sign_in(server, name) for name in ("ada", "bob", "adam"))
    reads(ada, server)
    reads(bob, server)
    expect(bob.page.get_by_text("First reading: ada, not signed")).to_be_visible()
    expect(bob.page.get_by_role("button", name="Free this reading")).to_have_count(1)  # his own
    freed = {"reading": "1", "call_id": "call-0001", "reason": "I am in a hurry"}
    assert post(bob, f"{SLIDE}/review/seal", freed) == (
        409,
        "this is ada's; ada or an administrator may do it",
    )
    bob.page.get_by_role("button", name="Sign this reading").click()
    bob.page.locator("#sure").get_by_role("button", name="Sign", exact=True).click()
    expect(bob.page.locator("#signed")).to_contain_text("Signed by bob")
    adam.page.goto(f"{server.address}{SLIDE}/review")
    expect(adam.page.get_by_role("button", name="Begin")).to_be_visible()
    adam.page.get_by_label("Reason").first.fill("ada has left")
    adam.page.get_by_role("button", name="Free this reading").click()
    expect(adam.page.get_by_text("First reading: ada, not signed")).to_have_count(0)
    adam.page.get_by_label("Reason").fill("it was the wrong slide")
    adam.page.get_by_role("button", name="Withdraw this signature").click()
    expect(adam.page.get_by_text("Second reading: bob, not signed")).to_be_visible()
    adam.page.get_by_role("link", name="System").click()
    for what in ("gave free: first reading", "withdrew the signature: second reading"):
        expect(adam.page.get_by_role("row").filter(has_text=what)).to_contain_text("adam")
    ada.page.reload()
    expect(ada.page.get_by_role("button", name="Begin")).to_be_visible()
    ada.page.goto(f"{server.address}system")
    expect(ada.page.get_by_text("Who did what")).to_have_count(0)


def test_a_reader_finds_no_way_to_say_anything_and_who_is_not_signed_in_finds_nothing(
    server: Server, open_window: OpenWindow
) -> None:
    rita = open_window().sign_in(server, "rita")
    rita.page.goto(server.address + SLIDE)
    expect(rita.page.locator("#gallery li.cell")).to_have_count(4)
    expect(rita.page.get_by_role("link", name="Review these cells")).to_have_count(0)
    for path in ("begin", "unseal", "shown", "verdicts", "seal"):
        assert post(rita, f"{SLIDE}/review/{path}", {}) == NEEDS_REVIEWER
    rita.page.goto(f"{server.address}{SLIDE}/review")
    expect(rita.page.get_by_text("This needs the role reviewer.")).to_be_visible()
    rita.forgive(status=403)
    rita.page.goto(f"{server.address}system")
    expect(rita.page.get_by_text("Who did what")).to_have_count(0)
    nobody = open_window()
    nobody.page.goto(server.address + SLIDE)
    expect(nobody.page.get_by_label("Password")).to_be_visible()
    expect(nobody.page.get_by_role("link", name="Slides")).to_have_count(0)
    for path in (f"{AGENT}/command/slide/stop", f"{SLIDE}/review/begin", f"{SLIDE}/review/seal"):
        assert post(nobody, path) == (401, "You are not signed in. Sign in, and try again.")


@pytest.mark.soak
def test_without_sign_in_the_guest_reviews_commands_and_sees_the_log_and_frees_no_reading_of_others(
    launch: Launch, keep: Keep, open_window: OpenWindow, tmp_path: Path
) -> None:
    keep([FOUR])
    with ReviewStore(f"sqlite:///{tmp_path / 'reviews.sqlite'}") as reviews:
        reviews.begin(SlideKey("lab", "scope-1", "slide-7"), "ada", "reviewer", "call-0001")
    server = launch("alone", collect="false")
    guest = open_window()
    guest.page.goto(f"{server.address}system")
    expect(guest.page.get_by_role("row").filter(has_text="began: first reading")).to_contain_text("ada")
    expect(guest.page.get_by_role("button", name="Sign out")).to_have_count(0)
    reads(guest, server)
    expect(guest.page.get_by_text("First reading: ada, not signed")).to_be_visible()
    expect(guest.page.get_by_role("button", name="Free this reading")).to_have_count(1)
    freed = {"reading": "1", "call_id": "call-0002", "reason": "there is nobody else"}
    assert post(guest, f"{SLIDE}/review/seal", freed)[0] == 409
