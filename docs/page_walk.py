"""Draws docs/pictures/page-*.jpg: a person's first slide in the page, from its start to the report on paper.

Needs Chromium and the extras `dashboard` and `dev`. `make docs` does not run it: it takes a minute.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from devbroker.broker import open_broker

PICTURES = Path(__file__).with_name("pictures")
SOON_MS = 60_000


@contextmanager
def running(module: str, *words: str, settings: Mapping[str, object]) -> Iterator[None]:
    """A command in a process of its own."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MICROSCOPE_")}
    given = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    process = subprocess.Popen([sys.executable, "-m", module, *words, *given], env=bare, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def walk(page: Page, address: str) -> None:
    """Start a slide, find the most suspicious cell, correct it, sign, print; a picture of each step."""

    def keep(name: str, **how: Any) -> None:
        page.screenshot(path=PICTURES / f"page-{name}.jpg", type="jpeg", quality=80, **how)

    page.goto(address)
    expect(page.locator("#agents .state")).to_have_text("online", timeout=SOON_MS)
    keep("1-microscopes", clip={"x": 0, "y": 0, "width": 1280, "height": 330})
    page.get_by_role("link", name="lab/scope-1").click()
    page.get_by_label("Slide", exact=True).fill("B-17")
    page.get_by_role("button", name="Start this slide").click()
    expect(page.get_by_role("link", name="B-17")).to_be_visible(timeout=SOON_MS)
    expect(page.locator("figure.view rect.box").first).to_be_visible(timeout=SOON_MS)
    time.sleep(12)
    keep("2-slide-started")
    page.get_by_role("button", name="Stop the slide").click()
    expect(page.locator("#said")).to_contain_text("closed", timeout=SOON_MS)
    time.sleep(10)  # until the last pictures are fetched
    page.get_by_role("link", name="B-17").click()
    expect(page.locator("#gallery img").first).to_be_visible(timeout=SOON_MS)
    page.evaluate("document.querySelector('#gallery').scrollIntoView()")
    time.sleep(1)
    keep("3-most-suspicious-first")
    page.get_by_role("link", name="Review these cells").click()
    page.get_by_role("button", name="Begin").click()
    for key in ("1", "Enter"):
        expect(page.locator("#cells li.current[data-seen]")).to_have_count(1)
        page.keyboard.press(key)
    time.sleep(1)
    keep("4-corrected")
    while page.locator("#cells li:not([data-verdict])").count():
        expect(page.locator("#cells li.current[data-seen]")).to_have_count(1, timeout=SOON_MS)
        page.keyboard.press("u" if page.locator("#cells li.current[data-label=uncertain]").count() else "Enter")
    expect(page.locator("#sending")).to_have_text("Everything is stored.", timeout=SOON_MS)
    page.locator("#sign").click()
    page.locator("#sure").get_by_role("button", name="Sign", exact=True).click()
    expect(page.locator("#signed")).to_be_visible(timeout=SOON_MS)
    keep("5-signed")
    page.goto(f"{address}slides/lab/scope-1/B-17/report")
    time.sleep(1)
    keep("6-report", full_page=True)


def main() -> int:
    """Draw them all."""
    with tempfile.TemporaryDirectory() as name, open_broker() as broker, ExitStack() as opened:
        folder, ready = Path(name), Path(name) / "ready"
        shared = {"mqtt.port": broker.port, "mqtt.version": broker.version}
        place = {
            "database": f"sqlite:///{folder / 'c.sqlite'}",
            "state_dir": folder,
            "web.port": 0,
            "web.sign_in": "false",
        }
        page = {**shared, **place, "collect": "true"}
        opened.enter_context(running("dashboard", "--ready-file", str(ready), settings=page))
        seen = {"site": "lab", "device": "scope-1", "state_dir": folder / "agent", "source.kind": "synthetic"}
        more = {"source.fps": 2, "source.overlap": 0.1, "pictures.keep": "true", "slide.id": ""}
        opened.enter_context(running("agent", "run", settings={**shared, **seen, **more}))
        while not ready.exists():
            time.sleep(0.1)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            walk(browser.new_page(viewport={"width": 1280, "height": 900}), ready.read_text())
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
