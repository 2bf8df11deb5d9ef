"""Many microscopes on one page, in a real browser: each is itself, goes and comes back, and so does the broker."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import OpenBroker
from tests.dashboard.browser.conftest import Agent, Launch, Server, Window
from tests.waiting import free_port

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
SOON_MS = 60_000
CAPTURED = """() => Object.fromEntries([...document.querySelectorAll("#agents tr")].map((row) =>
    [row.querySelector("a").textContent, row.querySelector("[data-captured]")?.dataset.captured]))"""
"""When the newest frame of each agent was taken, as the page has it."""


class Broker:
    """One that is ended and started again at the same port."""

    def __init__(self, opens: OpenBroker) -> None:
        self._opens, self._opened, self.port = opens, ExitStack(), free_port()
        self.start()

    def start(self) -> None:
        self._opened.enter_context(self._opens(port=self.port))

    def end(self) -> None:
        self._opened.close()


@pytest.fixture
def broker(open_mosquitto: OpenBroker) -> Iterator[Broker]:
    made = Broker(open_mosquitto)
    yield made
    made.end()


def row_of(page: Any, name: str) -> Any:
    return page.locator("#agents tr").filter(has=page.get_by_role("link", name=f"lab/{name}", exact=True))


def all_go_on(page: Any) -> None:
    """See a newer frame of each agent come in."""
    before = page.evaluate(CAPTURED)
    newer = f"(old) => {{ const now = ({CAPTURED})(); return Object.keys(now).every((n) => now[n] > (old[n] ?? '')); }}"
    page.wait_for_function(newer, arg=before, timeout=SOON_MS)


def none_is_another(page: Any, server: Server, names: dict[str, int]) -> None:
    """Hold rows, data and the pages of single agents against what each agent was told to be."""
    for name in names:
        expect(row_of(page, name).get_by_role("link", name=f"slide-of-{name}", exact=True)).to_be_visible()
    said = page.request.get(f"{server.address}data/agents").json()["agents"]
    assert [(one["device"], one["slide"]["slide_id"]) for one in said] == [(name, f"slide-of-{name}") for name in names]
    for name, seed in names.items():
        page.goto(f"{server.address}agents/lab/{name}")
        expect(page.get_by_role("heading", name=f"lab/{name}")).to_be_visible()
        expect(page.get_by_text(f"smear {seed} at")).to_be_visible(timeout=SOON_MS)
        expect(page.locator("figure.view image")).to_be_visible(timeout=SOON_MS)
        assert f"/agents/lab/{name}/" in str(page.locator("figure.view image").get_attribute("href"))
    page.goto(f"{server.address}agents")


@pytest.mark.parametrize(
    ("count", "lost"), [pytest.param(2, [2], id="two"), pytest.param(10, [3, 7], id="ten", marks=pytest.mark.soak)]
)
def test_every_agent_is_itself_and_those_that_go_and_the_broker_come_back(
    launch: Launch, agent: Agent, broker: Broker, window: Window, count: int, lost: list[int]
) -> None:
    page = window.page
    server = launch("fleet", **{"mqtt.port": broker.port})
    names = {f"scope-{number:02d}": number for number in range(1, count + 1)}
    plain = {"mqtt.port": broker.port, "source.fps": 1}
    running = {name: agent("fleet", name, **plain, **{"source.seed": seed}) for name, seed in names.items()}
    page.goto(f"{server.address}agents")
    expect(page.locator("#agents .state.online")).to_have_count(count, timeout=2 * SOON_MS)
    all_go_on(page)
    none_is_another(page, server, names)

    gone = [f"scope-{number:02d}" for number in lost]
    for name in gone:
        running[name].kill()
    for name in names:
        state = "offline" if name in gone else "online"
        expect(row_of(page, name).locator(".state")).to_have_text(state, timeout=SOON_MS)
    for name in gone:
        agent("fleet", name, **plain, **{"source.seed": names[name]})
    expect(page.locator("#agents .state.online")).to_have_count(count, timeout=SOON_MS)
    all_go_on(page)

    broker.end()
    expect(page.locator("#knowledge")).to_have_class("old", timeout=SOON_MS)
    expect(page.locator("#broker")).to_contain_text("This page hears nothing from any microscope since 20")
    expect(page.locator("#broker")).to_contain_text("UTC: tell the IT person.")
    expect(page.locator("#age")).to_have_text(re.compile(r"^The last news came \d+ s ago\.$"))
    expect(page.locator("#age")).to_contain_text(" 5 s", timeout=SOON_MS)  # it grows, while the server goes on
    expect(page.locator("#detail")).to_have_text(re.compile(r"^Detail: .*[^.]\.$"))
    broker.start()
    expect(page.locator("#broker")).to_have_text("Connected to the broker.", timeout=SOON_MS)
    expect(page.locator("#age")).to_contain_text("As of")
    expect(page.locator("#detail")).to_have_text("")
    all_go_on(page)
    expect(page.locator("#agents .state.online")).to_have_count(count, timeout=SOON_MS)
    none_is_another(page, server, names)
