"""The page's server with a real broker, asked as a browser asks."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from contract.requests import Answer
from dashboard.app import application
from dashboard.live.watcher import Watcher
from dashboard.security import users
from dashboard.security.roles import Role
from dashboard.security.users import Users
from dashboard.server import server_of
from dashboard.settings import DashboardSettings
from dashboard.web import Web
from devbroker.broker import Broker
from mqttlink.settings import BrokerSettings
from tests.dashboard.conftest import MakeReport
from tests.dashboard.pages import hostile
from tests.waiting import until

PASSWORD = "it is only a test of a page"  # noqa: S105 - of people who are made up
PEOPLE: dict[str, Role] = {"rita": "reader", "ada": "reviewer", "adam": "administrator"}
BASE = "http://127.0.0.1:8088"
MakeWeb = Callable[..., Web]
Serve = Callable[..., TestClient]


class Served(NamedTuple):
    """A server that listens on loopback."""

    port: int
    web: Web


Listen = Callable[..., Served]


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of everybody; a hash of a password takes its time."""
    everybody = Users(tmp_path_factory.mktemp("people") / users.FILE)
    for name, role in PEOPLE.items():
        everybody.add(name, PASSWORD, role)
    return everybody.path.read_bytes()


@pytest.fixture
def make_web(mosquitto: Broker, tmp_path: Path, people: bytes) -> MakeWeb:
    """Make the parts of a server: ``make_web(prefix, **settings of the page)``."""

    def made(prefix: str, *, database: str = "", **web: Any) -> Web:
        settings = DashboardSettings.model_validate(
            {
                "mqtt": BrokerSettings(port=mosquitto.port, prefix=prefix),
                "database": database or f"sqlite:///{tmp_path / 'collector.sqlite'}",
                "state_dir": tmp_path / "state",
                "web": web,
            }
        )
        parts = Web(settings, Watcher(settings))
        parts.users.path.write_bytes(people)
        return parts

    return made


@pytest.fixture
def serve(make_web: MakeWeb) -> Iterator[Serve]:
    """Start servers without a network, as ``make_web`` makes them; a browser that follows no redirect."""
    with ExitStack() as opened:

        def started(prefix: str, **settings: Any) -> TestClient:
            app = application(make_web(prefix, **settings))
            client = TestClient(app, BASE, follow_redirects=False, raise_server_exceptions=False)
            return opened.enter_context(client)

        yield started


@pytest.fixture
def listen(make_web: MakeWeb) -> Iterator[Listen]:
    """Start servers that listen, as the program does, by the settings of ``make_web``."""
    with ExitStack() as opened:

        def started(prefix: str, **settings: Any) -> Served:
            web = make_web(prefix, **settings)
            server = server_of(web)
            listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
            thread.start()
            opened.callback(thread.join, 10)
            opened.callback(setattr, server, "should_exit", True)  # noqa: FBT003 - the name of uvicorn's attribute
            assert until(lambda: server.started, 10)
            return Served(listening.getsockname()[1], web)

        yield started


@pytest.fixture(scope="session")
def hostile_store(tmp_path_factory: pytest.TempPathFactory, make_report: MakeReport) -> str:
    """A store in which every text is an attack."""
    return hostile.store(tmp_path_factory.mktemp("hostile") / "collector.sqlite", make_report)


@pytest.fixture
def client(serve: Serve, hostile_store: str, make_report: MakeReport, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A browser before a server whose store and agent attack it; the agent does what it is asked at once."""
    monkeypatch.setattr(
        "dashboard.pages.agents.ask", lambda _broker, _key, name, _asked, **_: Answer(command=name, ok=True)
    )
    made = serve("attacks", database=hostile_store)
    hostile.heard(made.app.state.web, make_report)  # type: ignore[attr-defined]
    return made


def by(client: TestClient, name: str) -> TestClient:
    """A browser with somebody signed in, sending the word of the session."""
    client.headers["x-csrf-token"] = sign_in(client, name)
    return client


def sign_in(client: TestClient, name: str) -> str:
    """Sign a person in; the word that the page's requests repeat."""
    answer = client.post("/signin", data={"name": name, "password": PASSWORD})
    assert answer.status_code == 303, answer.text
    page: str = client.get("/agents").text
    return page.partition('data-csrf="')[2].partition('"')[0]
