"""More than one: agents at one collector, an outbox that begins again, collectors at one broker."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from collector.settings import CollectorSettings
from contract.messages import FrameReport
from devbroker.broker import Broker
from mqttlink.settings import BrokerSettings
from tests.collecting import Agent, agent_on, collecting, stored, until

Make = Callable[..., FrameReport]


def settings_for(broker: Broker, prefix: str, name: str, file: Path) -> CollectorSettings:
    mqtt = BrokerSettings(port=broker.port, prefix=prefix)
    return CollectorSettings(name=f"{prefix}-{name}", mqtt=mqtt, database=f"sqlite:///{file}")


def test_agents_that_report_at_once_do_not_mix(mosquitto: Broker, make_report: Make, tmp_path: Path) -> None:
    settings = settings_for(mosquitto, "many", "one", tmp_path / "collected")
    with ExitStack() as house:
        agents = [
            house.enter_context(agent_on(mosquitto, tmp_path, make_report, prefix="many", device=f"scope-{number}"))
            for number in range(4)
        ]
        house.enter_context(collecting(settings))
        for _ in range(10):
            for agent in agents:
                agent.put(20)
        assert all(agent.has_forgotten_all() for agent in agents)
    assert stored(settings.database) == sorted(key for agent in agents for key in agent.made)


def test_an_outbox_that_begins_anew_is_another_stream(
    mosquitto: Broker, make_report: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Number 3 went with the old outbox: it stays missing, is told once, and keeps nothing of the new one back."""
    settings = settings_for(mosquitto, "anew", "one", tmp_path / "collected")

    @contextmanager
    def scope() -> Iterator[Agent]:
        with agent_on(mosquitto, tmp_path, make_report, prefix="anew", device="scope") as agent:
            yield agent

    with collecting(settings) as collector:
        with scope() as before:
            before.put(2)
            assert before.has_forgotten_all()
        with closing(sqlite3.connect(tmp_path / "scope.sqlite")) as outbox, outbox:
            outbox.execute("update sqlite_sequence set seq = 3")
        with scope() as cut:
            cut.put(1)
            assert until(lambda: collector.totals.new == 3)
            assert cut.promised() == []
        for file in tmp_path.glob("scope.sqlite*"):
            file.unlink()
        with scope() as after:
            assert after.outbox.epoch != before.outbox.epoch
            after.put(5)
            assert after.has_forgotten_all()
        for _ in range(2):
            collector._say_gaps()
    assert stored(settings.database) == sorted([*before.made, *cut.made, *after.made])
    assert caplog.text.count(f"{before.outbox.epoch}: 3 are missing; acknowledged up to 2 until they come") == 1


def test_of_two_collectors_with_one_name_each_is_told_and_no_report_is_promised_that_neither_has(
    mosquitto: Broker, make_report: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They share one session at the broker, which hands a report to the one or the other."""
    first, second = (settings_for(mosquitto, "twins", "one", tmp_path / name) for name in ("first", "second"))
    with agent_on(mosquitto, tmp_path, make_report, prefix="twins", device="scope") as agent, collecting(first):
        with collecting(second, wait=False):
            while len(agent.made) < 60 or ("a collector: the" not in caplog.text and len(agent.made) < 600):
                agent.put(10)
                promised = agent.promised()
                assert set(promised) <= {*stored(first.database), *stored(second.database)}
        assert "another client has the same name (an agent: site and device)" in caplog.text
        assert "(a collector: the setting name)" in caplog.text
        assert until(lambda: {*stored(first.database), *stored(second.database)} == set(agent.made))


def test_the_word_of_one_collector_is_enough_and_another_still_gets_everything_from_the_broker(
    mosquitto: Broker, make_report: Make, tmp_path: Path
) -> None:
    """Two names are two sessions. The second's database is locked until the agent has forgotten everything."""
    first, second = (settings_for(mosquitto, "pair", name, tmp_path / name) for name in ("first", "second"))
    with collecting(second), closing(sqlite3.connect(tmp_path / "second", isolation_level=None)) as intruder:
        assert until((tmp_path / "second").exists)
        intruder.execute("begin exclusive")
        with agent_on(mosquitto, tmp_path, make_report, prefix="pair", device="scope") as agent, collecting(first):
            agent.put(100)
            assert agent.has_forgotten_all()
        intruder.execute("rollback")
        assert stored(first.database) == agent.made
        assert until(lambda: stored(second.database) == agent.made)


def test_two_collectors_store_each_report_once_in_one_database(
    mosquitto: Broker, make_report: Make, tmp_path: Path, database: str
) -> None:
    names = settings_for(mosquitto, "shared", "first", tmp_path), settings_for(mosquitto, "shared", "second", tmp_path)
    first, second = (settings.model_copy(update={"database": database}) for settings in names)
    with (
        agent_on(mosquitto, tmp_path, make_report, prefix="shared", device="scope") as agent,
        collecting(first) as one,
        collecting(second) as two,
    ):
        for _ in range(20):
            agent.put(20)
            assert set(agent.made[: agent.outbox.oldest() - 1]) <= set(stored(database))
        assert agent.has_forgotten_all()
        assert stored(database) == agent.made
        assert until(lambda: one.totals.new + two.totals.new == 400)
        assert one.totals.quarantined == two.totals.quarantined == 0
