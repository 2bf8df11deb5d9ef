"""The page's server with a real broker, asked as a browser asks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dashboard.app import application
from dashboard.live.watcher import Watcher
from dashboard.security import users
from dashboard.security.roles import Role
from dashboard.security.users import Users
from dashboard.settings import DashboardSettings
from dashboard.web import Web
from devbroker.broker import Broker
from mqttlink.settings import BrokerSettings

PASSWORD = "it is only a test of a page"  # noqa: S105 - of people who are made up
PEOPLE: dict[str, Role] = {"rita": "reader", "ada": "reviewer", "adam": "administrator"}
BASE = "http://127.0.0.1:8088"
Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of everybody; a hash of a password takes its time."""
    everybody = Users(tmp_path_factory.mktemp("people") / users.FILE)
    for name, role in PEOPLE.items():
        everybody.add(name, PASSWORD, role)
    return everybody.path.read_bytes()


@pytest.fixture
def serve(mosquitto: Broker, tmp_path: Path, people: bytes) -> Iterator[Serve]:
    """Start servers: ``serve(prefix, **settings of the page)`` gives a browser that follows no redirect."""
    with ExitStack() as opened:

        def started(prefix: str, *, database: str = "", **web: Any) -> TestClient:
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
            client = TestClient(application(parts), BASE, follow_redirects=False, raise_server_exceptions=False)
            return opened.enter_context(client)

        yield started


def sign_in(client: TestClient, name: str) -> str:
    """Sign a person in; the word that the page's requests repeat."""
    answer = client.post("/signin", data={"name": name, "password": PASSWORD})
    assert answer.status_code == 303, answer.text
    page: str = client.get("/agents").text
    return page.partition('data-csrf="')[2].partition('"')[0]
