"""Long work of a reviewer: many cells, and servers that are killed meanwhile."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.page import CELLS_A_FRAME, cell, report
from tests.dashboard.browser.conftest import Agent, Launch, Window
from tests.dashboard.conftest import Keep
from tests.waiting import until

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.soak
SOON_MS = 60_000
KILLS = 10


def verdicts(folder: Path) -> list[tuple[str, str]]:
    """Cell and kind of each, in their order."""
    with sqlite3.connect(f"file:{folder / 'reviews.sqlite'}?mode=ro", uri=True) as reviews:
        return reviews.execute("select object_id, kind from verdict order by id").fetchall()


class Keyboard:
    """Counts what is pressed."""

    def __init__(self, page: Any) -> None:
        self._page, self.pressed = page, 0

    def press(self, key: str) -> None:
        """One key, once the cell that it is for was on the screen."""
        expect(self._page.locator("#cells li.current[data-seen]:not([data-verdict])")).to_have_count(1, timeout=SOON_MS)
        self._page.keyboard.press(key)
        self.pressed += 1


def test_five_hundred_cells_take_at_most_520_keys(launch: Launch, keep: Keep, window: Window, tmp_path: Path) -> None:
    count = 500
    keep(
        report(1, seq, [cell(1, seq, n, (seq * 7 + n * 31) % 1000 / 1000) for n in range(1, CELLS_A_FRAME + 1)])
        for seq in range(1, count // CELLS_A_FRAME + 1)
    )
    server = launch("many", collect="false")
    window.page.goto(f"{server.address}slides/lab/scope-1/slide-7/review")
    window.page.get_by_role("button", name="Begin").click()
    keyboard = Keyboard(window.page)
    for number in range(count):
        keyboard.press("12u3"[number % 4])
    expect(window.page.locator("#progress")).to_contain_text(f"{count} of {count}", timeout=SOON_MS)
    expect(window.page.locator("#sending")).to_have_text("Everything is stored.", timeout=SOON_MS)
    assert keyboard.pressed <= 520
    assert len({name for name, _ in verdicts(tmp_path)}) == len(verdicts(tmp_path)) == count


@contextmanager
def _again_and_again(start: Callable[[], "subprocess.Popen[bytes]"]) -> Iterator[Callable[[], None]]:
    """A process, and what kills it and starts it again."""
    running = [start()]

    def kill() -> None:
        running[0].send_signal(signal.SIGKILL)
        running[0].wait()
        running[0] = start()

    try:
        yield kill
    finally:
        running[0].terminate()
        running[0].wait(30)


def test_nothing_is_lost_or_doubled_when_agent_collector_and_page_are_killed_ten_times_each(
    launch: Launch, agent: Agent, mosquitto: Any, window: Window, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'collector.sqlite'}"
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MICROSCOPE_")}
    words = ["--port", str(mosquitto.port), "--set", "mqtt.prefix=killed", "--database", database]

    def collector() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-m", "collector", *words], env=bare, stderr=subprocess.DEVNULL)

    def seeing() -> "subprocess.Popen[bytes]":
        return agent("killed", **{"source.fps": 4, "outbox.forget_on": "consumer"})

    with _again_and_again(collector) as kill_collector, _again_and_again(seeing) as kill_agent:
        server = launch("killed", collect="false")
        assert until(lambda: _cells(tmp_path) > 5 * KILLS, 90)
        page = window.page
        address = f"{server.address}slides/lab/scope-1/slide-of-scope-1/review"
        assert until(lambda: page.goto(address).ok and page.get_by_role("button", name="Begin").count() == 1, 60)
        page.get_by_role("button", name="Begin").click()
        keyboard = Keyboard(page)
        for _ in range(KILLS):
            for key in "12u":
                keyboard.press(key)
            server.kill()
            keyboard.press("3")
            kill_collector()
            kill_agent()
            server = server.again()
            page.reload()
            expect(page.locator("#sending")).to_have_text("Everything is stored.", timeout=SOON_MS)
        found = verdicts(tmp_path)
        assert len(found) == len({name for name, _ in found}) == keyboard.pressed
    assert until(lambda: _holes(tmp_path) == [], 60), _holes(tmp_path)
    window.complaints.clear()


def _cells(folder: Path) -> int:
    """How many cells are stored, by their names on the slide."""
    if not (folder / "collector.sqlite").exists():
        return 0
    with sqlite3.connect(f"file:{folder / 'collector.sqlite'}?mode=ro", uri=True) as store:
        made = store.execute("select count(*) from sqlite_master where name = 'cell'").fetchone()[0]
        count: int = made and store.execute("select count(distinct object_id) from cell").fetchone()[0]
        return count


def _holes(folder: Path) -> list[tuple[str, int, int]]:
    """Of each epoch that lacks or doubles a number: its reports, and its highest number."""
    with sqlite3.connect(f"file:{folder / 'collector.sqlite'}?mode=ro", uri=True) as store:
        every = store.execute("select epoch, count(distinct seq), count(*), max(seq) from report group by epoch")
        return [(epoch, count, top) for epoch, count, rows, top in every if not count == rows == top]
