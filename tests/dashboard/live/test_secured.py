"""The page before a broker that asks for TLS, a certificate and a password, and has the docs' access list."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from collector.settings import CollectorSettings
from contract.messages import FrameReport
from dashboard.link import Link
from dashboard.live.commands import ask
from dashboard.live.fleet import AgentKey
from dashboard.live.hub import Hub
from dashboard.live.views import WISH, Views
from devbroker.broker import find_program
from mqttlink.settings import BrokerSettings
from tests.collecting import collecting, stored, until
from tests.collector.test_secured import Guarded, agent, guarded_by, rules_of_the_page

Open = Callable[..., Any]
KEY = AgentKey("lab", "scope-1")


@pytest.fixture
def guarded(open_mosquitto: Open, tmp_path: Path) -> Iterator[Guarded]:
    with guarded_by(rules_of_the_page(), open_mosquitto, tmp_path) as guarded:
        yield guarded


def ours(guarded: Guarded) -> BrokerSettings:
    return BrokerSettings(**guarded.login("page"))


def test_it_hears_every_agent_and_gets_answers_to_its_commands(guarded: Guarded, tmp_path: Path) -> None:
    tls = guarded.tls("scope-1")
    given = {
        "mqtt.host": "localhost",
        "mqtt.port": guarded.broker.port,
        "mqtt.username": "scope-1",
        "mqtt.password": "scope-1",
        **{f"mqtt.tls.{name}": getattr(tls, name) for name in ("ca", "cert", "key")},
        "site": KEY.site,
        "device": KEY.device,
        "state_dir": tmp_path / "agent",
        "source.kind": "synthetic",
    }
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    with (
        Link(ours(guarded), "microscopy/v1/+/+/#") as link,
        subprocess.Popen([sys.executable, "-m", "agent", "run", *words], stderr=subprocess.DEVNULL) as process,
    ):
        try:
            assert until(lambda: link.arrivals.get(timeout=30).topic.endswith("/scope-1/frame"), 60), link.words()
            answer = ask(ours(guarded), KEY, "snapshot", WISH)
        finally:
            process.terminate()
    assert (answer.ok, answer.error) == (True, None)


def test_where_it_is_the_collector_agents_forget_what_it_has_stored(
    guarded: Guarded, make_report: Callable[..., FrameReport], tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'collected.sqlite'}"
    with agent(guarded, tmp_path) as outbox, collecting(CollectorSettings(database=database, mqtt=ours(guarded))):
        for seq in range(1, 21):
            outbox.put(make_report(seq, outbox.epoch))
        assert until(lambda: outbox.count() == 0)
        assert stored(database) == [("scope-1", outbox.epoch, seq) for seq in range(1, 21)]


def test_a_password_that_was_changed_while_the_page_runs_is_read_before_the_next_command(
    open_mosquitto: Open, tmp_path: Path
) -> None:
    """What the broker then says is of the agent, which is not there, and no longer of the password."""
    file, word = tmp_path / "passwords", ["first"]

    def renewed() -> BrokerSettings:
        return BrokerSettings(port=broker.port, username="page", password=SecretStr(word[0]))

    def allow(password: str) -> None:
        program = str(find_program("mosquitto_passwd"))
        subprocess.run([program, *(["-c"] if not file.exists() else []), "-b", file, "page", password], check=True)

    def heard() -> str:
        answer = ask(at_first, KEY, "snapshot", WISH, renewed=renewed)
        assert answer.error is not None
        return answer.error.text

    allow("first")
    with open_mosquitto(config_lines=["allow_anonymous false", f"password_file {file}"]) as broker:
        at_first = renewed()
        assert "nobody listens" in heard()
        allow("second")
        os.kill(broker.pid, signal.SIGHUP)
        assert until(lambda: "correct mqtt.username and mqtt.password" in heard())
        word[0] = "second"
        assert "nobody listens" in heard()


async def _trouble(old: BrokerSettings, renewed: Callable[[], BrokerSettings] | None) -> str:
    """Why there is no picture of an agent."""
    hub = Hub()
    views = Views(old, hub, renewed=renewed)
    with hub.listening(lambda change: change == ("view", *KEY)) as listener:
        async with views.watched(KEY):
            assert await listener.changes(within_s=30, pace_s=0)
    return views.of(KEY).trouble


def test_pictures_are_asked_for_with_the_password_that_now_stands_on_disk(open_mosquitto: Open, tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    subprocess.run([str(find_program("mosquitto_passwd")), "-c", "-b", file, "page", "second"], check=True)
    with open_mosquitto(config_lines=["allow_anonymous false", f"password_file {file}"]) as broker:
        old, new = (
            BrokerSettings(port=broker.port, username="page", password=SecretStr(word)) for word in ("first", "second")
        )
        assert "correct mqtt.username and mqtt.password" in asyncio.run(_trouble(old, None))
        assert "nobody listens" in asyncio.run(_trouble(old, lambda: new))
