"""A real browser before a real page: Chromium of the system, mosquitto, agents and collector as processes."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dashboard.security import users
from dashboard.security.roles import Role
from dashboard.security.users import Users
from devbroker.broker import Broker
from tests.waiting import until

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
Launch = Callable[..., "Server"]
Agent = Callable[..., "subprocess.Popen[bytes]"]
OpenWindow = Callable[..., "Window"]
PASSWORD = "it is only a test of a page"  # noqa: S105 - of people who are made up
PEOPLE: dict[str, Role] = {
    "rita": "reader",
    "ada": "reviewer",
    "bob": "reviewer",
    "carol": "reviewer",
    "adam": "administrator",
}


class Server:
    """A page that is served: where it is, and its process."""

    def __init__(self, address: str, process: "subprocess.Popen[bytes]", again: Callable[[], "Server"]) -> None:
        self.address, self.process, self.again = address, process, again

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def launch(mosquitto: Broker, tmp_path: Path) -> Iterator[Launch]:
    """Start pages, each the collector as well: ``launch(prefix, **settings)``."""
    with ExitStack() as opened:

        def started(prefix: str, port: int = 0, **settings: object) -> Server:
            ready = tmp_path / "ready"
            ready.unlink(missing_ok=True)
            given = {
                "mqtt.port": mosquitto.port,
                "mqtt.prefix": prefix,
                "collect": "true",
                "database": f"sqlite:///{tmp_path / 'collector.sqlite'}",
                "state_dir": tmp_path,
                "web.port": port,
                "web.sign_in": "false",
                **settings,
            }
            words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
            process = opened.enter_context(_process("dashboard", "--ready-file", str(ready), *words))
            assert until(ready.exists, 30)
            address = ready.read_text()
            number = int(address.rstrip("/").rpartition(":")[2])
            return Server(address, process, lambda: started(prefix, number, **settings))

        yield started


@pytest.fixture
def agent(mosquitto: Broker, tmp_path: Path) -> Iterator[Agent]:
    """Start agents on a rendered smear: ``agent(prefix, device, **settings)``; None leaves one of ours out."""
    with ExitStack() as opened:

        def started(prefix: str, device: str = "scope-1", **settings: object) -> "subprocess.Popen[bytes]":
            given = {
                "site": "lab",
                "device": device,
                "mqtt.port": mosquitto.port,
                "mqtt.prefix": prefix,
                "state_dir": tmp_path / device,
                "source.kind": "synthetic",
                "source.fps": 4,
                "slide.id": f"slide-of-{device}",
                **settings,
            }
            told = {name: value for name, value in given.items() if value is not None}
            words = [word for name, value in told.items() for word in ("--set", f"{name}={value}")]
            return opened.enter_context(_process("agent", "run", *words))

        yield started


@contextmanager
def _process(module: str, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MICROSCOPE_")}
    process = subprocess.Popen([sys.executable, "-m", module, *words], env=bare, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser, for the tests of one file: its driver keeps this thread's event loop, which others need."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Window:
    """A page of the browser, and what it complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda fault: self.complaints.append(str(fault)))

    def _note(self, said: Any) -> None:
        if said.type in {"error", "warning"}:
            self.complaints.append(f"{said.text} {said.location['url']}")

    def forgive(self, *, status: int) -> None:
        """Forget what the browser says of answers of one kind that a test has asked for, and nothing else."""
        self.complaints = [said for said in self.complaints if f"responded with a status of {status} " not in said]

    def sign_in(self, server: Server, name: str) -> "Window":
        """Come in as one of `PEOPLE`."""
        self.page.goto(f"{server.address}signin")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/agents")
        return self


def serious(page: Any) -> list[tuple[str, str]]:
    """What is hard to use for some people, in both themes."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - only here, and slow

    found = []
    for theme, only in (("light", None), ("dark", {"runOnly": ["color-contrast"]})):  # nothing but colours differs
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # colours that change are none to measure
        faults = Axe().run(page, options=only).response["violations"]
        bad = [fault for fault in faults if fault["impact"] in {"serious", "critical"}]
        found += [(f"{theme} {fault['id']}", fault["nodes"][0]["html"]) for fault in bad]
    return found


@pytest.fixture
def open_window(chromium: Any) -> Iterator[OpenWindow]:
    """Open windows, each of a browser of its own: no cookie, no memory; a test that leaves a complaint fails."""
    made: list[Window] = []

    def opened(**how: object) -> Window:
        plain = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB"}
        made.append(Window(chromium.new_context(**{**plain, **how}).new_page()))
        return made[-1]

    yield opened
    for one in made:
        one.page.context.close()
    assert [one.complaints for one in made] == [[]] * len(made)


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    """A fresh window."""
    return open_window()


@pytest.fixture(scope="session")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of `PEOPLE`; a hash of a password takes its time."""
    made = Users(tmp_path_factory.mktemp("people") / users.FILE)
    for name, role in PEOPLE.items():
        made.add(name, PASSWORD, role)
    return made.path.read_bytes()


@pytest.fixture
def people(everybody: bytes, tmp_path: Path) -> None:
    """Those of `PEOPLE` may sign in, where ``web.sign_in`` is true."""
    (tmp_path / users.FILE).write_bytes(everybody)


@pytest.fixture
def pictured(launch: Launch, agent: Agent, tmp_path: Path) -> Callable[..., Server]:
    """Serve a slide of some thirty cells with their pictures, whose agent has ended: ``pictured(**settings)``."""

    def made(**settings: object) -> Server:
        server = launch("reviewed", **settings)
        seeing = agent("reviewed", **{"source.fps": 2, "pictures.keep": "true"})

        def count(table: str) -> int:
            with sqlite3.connect(f"file:{tmp_path / 'collector.sqlite'}?mode=ro", uri=True) as store:
                found: int = store.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608 - ours
                return found

        def settled() -> bool:
            """Whether no cell has come for a while; those of the agent's last frames come after its end."""
            before = count("cell")
            time.sleep(2)
            return count("cell") == before

        assert until(lambda: count("picture") >= 20, 60)
        seeing.terminate()
        seeing.wait(30)
        assert until(settled, 60)
        return server

    return made
