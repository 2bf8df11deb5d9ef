"""The page: from publish to pixel, a slide of ten thousand cells, a key of a reviewer, and the server's memory."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from bench.results import Figures
from collector.arrivals import Arrival
from collector.store import Store
from contract.messages import BoxReport, CellReport, FrameInfo, FrameReport, ModelInfo, Quality
from devbroker.broker import Broker, find_program, open_broker

AGENTS, FPS, WATCHED_S = 10, 10, 20
CELLS, CELLS_A_FRAME = 10_000, 4
MANY, BURST = 100_000, 500
"""Reports over which the server's memory is watched; so many at once, fewer than a broker queues for a slow reader."""
SLIDE = "slides/lab/scope-0/slide-7"
NOTED = """
() => {
  window.noted = [];
  new MutationObserver(() => {
    requestAnimationFrame(() => {
      const at = document.querySelector('[data-captured]');
      if (at && at.dataset.captured !== window.last) {
        window.last = at.dataset.captured;
        window.noted.push(Date.now() - Date.parse(at.dataset.captured));
      }
    });
  }).observe(document.querySelector('main'), {childList: true, subtree: true});
}
"""
"""Milliseconds from a report's time to the frame of the screen that shows it; both clocks are this computer's."""
SHOWN = """
(at) => [...document.querySelectorAll('[data-captured]')].some(
  (one) => Date.parse(one.dataset.captured) >= Date.parse(at)
)
"""
"""Whether a report of that time, or a later one, is on the screen."""
PRESSED = """
async (key) => {
  const began = performance.now();
  document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - began;
}
"""


def report(agent: int, seq: int, cells: Sequence[CellReport] = (), **changes: Any) -> FrameReport:
    """A report as an agent makes it, of now."""
    return FrameReport(
        device=f"scope-{agent}",
        site="lab",
        epoch="0123456789abcdef",
        seq=seq,
        slide_id="slide-7",
        frame=FrameInfo(
            id=f"run{agent}-{seq:08d}",
            source=f"smear-{seq:05d}.png",
            captured_at=changes.get("at") or datetime.now(timezone.utc),
            width=640,
            height=480,
            um_per_pixel=0.075,
        ),
        quality=Quality(accepted=True),
        cells=list(cells),
        model=ModelInfo(id="blast-8", sha256="0" * 64, engine="onnxruntime-int8"),
    )


def cell(agent: int, seq: int, number: int, probability: float) -> CellReport:
    """A cell of its own in a report."""
    label = "blast" if probability > 0.8 else "uncertain" if probability > 0.4 else "normal"
    return CellReport(
        cell_id=f"run{agent}-{seq:08d}-{number}",
        object_id=f"run{agent}-s1-c{seq * CELLS_A_FRAME + number}",
        box=BoxReport(x=10 + 60 * number, y=20, width=50, height=50),
        area_um2=105.0,
        label=label,
        probability=round(probability, 6),
    )


def large_slide(database: str) -> None:
    """Store a slide of ``CELLS`` cells."""
    began, now = datetime.now(timezone.utc) - timedelta(hours=1), datetime.now(timezone.utc)
    with Store(database) as store:
        for first in range(0, CELLS // CELLS_A_FRAME, 500):
            reports = [
                report(0, seq, [cell(0, seq, n, (seq * 7 + n * 31) % 1000 / 1000) for n in range(1, 5)],
                       at=began + timedelta(seconds=seq))
                for seq in range(first + 1, first + 501)
            ]  # fmt: skip
            topic = "microscopy/v1/lab/scope-0/frame"
            store.store([Arrival(topic, one.model_dump_json().encode(), now) for one in reports])


@contextmanager
def page_beside(broker: Broker, folder: Path) -> Iterator[tuple[str, int]]:
    """The page's server in a process of its own; its address and process id."""
    ready = folder / "ready"
    settings = {
        "mqtt.port": broker.port,
        "database": f"sqlite:///{folder / 'collector.sqlite'}",
        "state_dir": folder,
        "web.port": 0,
        "web.sign_in": "false",
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MICROSCOPE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "dashboard", "--log", "ERROR", "--ready-file", str(ready), *words], env=bare
    )
    try:
        while not ready.exists():
            time.sleep(0.05)
        yield ready.read_text(), process.pid
    finally:
        process.terminate()
        process.wait(10)


class _Publisher:
    """All reports through one `mosquitto_pub` for each agent, which sends a line as it comes."""

    def __init__(self, broker: Broker) -> None:
        program = str(find_program("mosquitto_pub"))
        self._pipes = [
            subprocess.Popen(
                [program, "-p", str(broker.port), "-q", "1", "-l", "-t", f"microscopy/v1/lab/scope-{agent}/frame"],
                stdin=subprocess.PIPE,
            )
            for agent in range(AGENTS)
        ]
        self._seq = 10_000

    def say(self, agent: int) -> datetime:
        """One report of now; its time."""
        self._seq += 1
        said = report(agent, self._seq, [cell(agent, self._seq, n, 0.1) for n in range(1, 5)])
        if (pipe := self._pipes[agent].stdin) is not None:
            pipe.write(said.model_dump_json().encode() + b"\n")
            pipe.flush()
        return said.frame.captured_at

    def paced(self, stop: threading.Event) -> None:
        """Every agent so many a second, evenly, until told to stop."""
        began, number = time.monotonic(), 0
        while not stop.is_set():
            self.say(number % AGENTS)
            number += 1
            time.sleep(max(0.0, began + number / (AGENTS * FPS) - time.monotonic()))

    def close(self) -> None:
        """End the programs."""
        for pipe in self._pipes:
            if pipe.stdin is not None:
                pipe.stdin.close()
            pipe.wait(30)


def measure() -> Figures:
    """All of it in one run; times in milliseconds, memory in MiB."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only here is a browser needed

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, open_broker() as broker:
        folder = Path(name)
        large_slide(f"sqlite:///{folder / 'collector.sqlite'}")
        with page_beside(broker, folder) as (address, pid), sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            publisher = _Publisher(broker)
            figures = {
                **_publish_to_pixel(tab, address, publisher),
                **_opened(tab, address),
                **_reviewed(tab, address),
                **_memory(tab, address, publisher, pid),
            }
            publisher.close()
            browser.close()
    return figures


def _publish_to_pixel(tab: Any, address: str, publisher: _Publisher) -> Figures:
    stop = threading.Event()
    thread = threading.Thread(target=publisher.paced, args=(stop,))
    thread.start()
    try:
        time.sleep(2)
        found: Figures = {"agents": AGENTS, "frames_a_second_each": FPS}
        for name, path in (("all_agents", "agents"), ("one_agent", "agents/lab/scope-0")):
            tab.goto(address + path)
            tab.evaluate(NOTED)
            tab.wait_for_timeout(WATCHED_S * 1000)
            noted = tab.evaluate("window.noted")
            found |= {
                f"publish_to_pixel_{name}_p50": _share(noted, 50),
                f"publish_to_pixel_{name}_p95": _share(noted, 95),
            }
    finally:
        stop.set()
        thread.join()
    return found


def _opened(tab: Any, address: str) -> Figures:
    tab.goto(f"{address}agents")
    tab.wait_for_timeout(1000)
    paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    times = []
    for _ in range(3):
        began = time.monotonic()
        tab.goto(address + SLIDE)
        tab.locator("#gallery li.cell").nth(20).wait_for()
        times.append(time.monotonic() - began)
    chunks = []
    for _ in range(5):
        before = tab.locator("#gallery li.cell").count()
        began = time.monotonic()
        tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        tab.wait_for_function(f"() => document.querySelectorAll('#gallery li.cell').length > {before}")
        chunks.append(time.monotonic() - began)
    return {
        "first_paint": round(paint),
        "slide_cells": CELLS,
        "slide_opened_first": round(times[0] * 1e3),
        "slide_opened_again": round(min(times) * 1e3),
        "gallery_more": round(statistics.median(chunks) * 1e3),
    }


def _reviewed(tab: Any, address: str) -> Figures:
    tab.goto(f"{address}{SLIDE}/review")
    tab.get_by_role("button", name="Begin").click()
    tab.locator("#cells li.current[data-seen]").wait_for()
    times = []
    for number in range(60):
        tab.locator("#cells li.current[data-seen]").wait_for()
        times.append(tab.evaluate(PRESSED, "1" if number % 2 else "2"))
    return {"key_to_paint_p50": _share(times, 50), "key_to_paint_p95": _share(times, 95)}


def _memory(tab: Any, address: str, publisher: _Publisher, pid: int) -> Figures:
    tab.goto(f"{address}agents")
    resident = [_resident_mb(pid)]
    for _ in range(MANY // BURST):
        last = max(publisher.say(number % AGENTS) for number in range(BURST))
        tab.wait_for_function(SHOWN, arg=last.isoformat(timespec="milliseconds"))
        resident.append(_resident_mb(pid))
    return {
        "reports": MANY,
        "server_before": resident[0],
        "server_after_tenth": resident[len(resident) // 10],
        "server_after": resident[-1],
        "server_most": max(resident),
    }


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.partition("VmRSS:")[2].split()[0]) / 1024, 1)


def _share(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return round(ordered[max(0, -(-percent * len(ordered) // 100) - 1)], 1)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
