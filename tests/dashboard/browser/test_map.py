"""The map of a slide in a real browser, and a slide amid which the agent was killed."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.tools.render import render
from tests.dashboard.browser.conftest import Agent, Launch, Server, Window, serious
from tests.waiting import until

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
FRAMES, SOME = 60, 6


def told(server: Server, page: Any, slide: str) -> dict[str, Any]:
    """What the server tells programs of a slide; nothing while there is none."""
    answer = page.request.get(f"{server.address}data/slides/lab/scope-1/{slide}")
    found: dict[str, Any] = answer.json() if answer.ok else {"frames": 0}
    return found


def come(server: Server, page: Any, slide: str, frames: int) -> bool:
    """Whether so many frames of a slide are stored, after a while."""
    return until(lambda: told(server, page, slide)["frames"] >= frames, 60)


@pytest.fixture
def walked(launch: Launch, agent: Agent, chromium: Any, tmp_path: Path) -> Callable[..., Server]:
    """Read a folder of frames, as the stage walks them, as slides: ``walked(name, ...)``.

    Amid a slide whose name ends in `-killed` the agent is killed.
    """
    folder = tmp_path / "frames"
    assert list(render(folder, frames=FRAMES, um_per_pixel=0.1, stop=threading.Event(), progress=False))
    plain = {"source.kind": "directory", "source.uri": folder, "source.um_per_pixel": 0.1, "pictures.keep": "true"}

    def read(*slides: str) -> Server:
        server, page = launch("map"), chromium.new_page()
        for slide in slides:
            name = slide.removesuffix("-killed")
            reading = agent("map", **plain, **{"slide.id": name, "source.fps": None})
            if slide.endswith("-killed"):
                assert come(server, page, name, SOME)
                reading.kill()
            else:
                assert reading.wait(120) == 0
                assert come(server, page, name, FRAMES)
        page.close()
        return server

    return read


def test_a_slide_amid_which_the_agent_was_killed_has_the_cells_of_one_that_was_read_in_one_go(
    walked: Callable[..., Server], chromium: Any
) -> None:
    server = walked("S.1-killed", "S.1", "S.2")
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB", bypass_csp=True)
    page = context.new_page()
    killed, whole = (told(server, page, slide) for slide in ("S.1", "S.2"))
    assert len(killed["summaries"]) == 2
    assert killed["read_again"] >= SOME
    assert killed["counts"] == whole["counts"]
    assert whole["counts"]["cells"] > 20
    for slide in ("S.1", "S.2"):
        page.goto(f"{server.address}slides?words={slide}")
        expect(page.locator("tbody td.number").first).to_have_text(str(whole["counts"]["cells"]))
    page.goto(f"{server.address}slides/lab/scope-1/S.1")
    expect(page.get_by_text("read more than once")).to_be_visible()
    expect(page.locator("svg.map a")).to_have_count(whole["counts"]["cells"])
    assert serious(page) == []
    context.close()


def test_a_dot_of_the_map_leads_to_its_cell_and_the_keyboard_passes_the_dots_by(
    walked: Callable[..., Server], window: Window
) -> None:
    page = window.page
    page.goto(f"{walked('S.2').address}slides/lab/scope-1/S.2")
    dot = page.locator("svg.map a.q4").last
    name = (dot.locator("title").text_content() or "").partition(":")[0]
    dot.click(force=True)
    expect(page).to_have_url(re.compile(rf"\?cell=.*{name}#.*{name}$"))
    expect(page.locator("#gallery li.cell:target")).to_be_in_viewport()
    expect(page.locator("#gallery li.cell:target")).to_contain_text(name)
    page.get_by_text("The map as a table").click()
    expect(page.get_by_role("region", name="The map as a table").get_by_role("row")).not_to_have_count(0)
    stops = page.evaluate("[...document.querySelectorAll('svg.map a')].filter((a) => a.tabIndex >= 0).length")
    assert stops == 0
