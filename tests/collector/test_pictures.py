"""Pictures go from a real agent through a real broker into the collector's store, whoever is killed on the way."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector import tables
from collector.database import open_engine
from collector.picture_rows import frame_picture, picture
from collector.pictures import PictureFetcher
from collector.queries import cells, frames, reading
from collector.settings import CollectorSettings
from common.errors import StoreError
from devbroker.broker import Broker
from tests.agent.test_commands import SITE, running
from tests.collecting import collecting, until

Open = Callable[..., Any]
PATIENCE_S = 90
KEEP = {"pictures.keep": "true"}


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """A name of its own for each test's agent, so that tests can share a broker."""
    return str(request.node.name)[-60:].strip("[]").replace("[", "-")


def settings_of(broker: Broker, device: str, database: str, **pictures: Any) -> CollectorSettings:
    given = {
        "name": device, "device": device, "database": database,
        "mqtt": {"port": broker.port, "prefix": "test"}, "pictures": {"fetch": True, **pictures},
    }  # fmt: skip
    return CollectorSettings.model_validate(given)


@contextmanager
def fetching(settings: CollectorSettings) -> Iterator[None]:
    """A collector in a thread, which fetches pictures in another."""
    with collecting(settings), PictureFetcher(settings).running():
        yield


def told(database: str) -> tuple[set[str], set[str]]:
    """Names of the cells and of the frames that reports speak of."""
    try:
        with reading(database) as connection:
            return {row.cell_id for row in cells(connection)}, {row.frame_id for row in frames(connection)}
    except StoreError:  # there is none yet, or it is just being made
        return set(), set()


def fetched(database: str) -> dict[str, bytes]:
    """What was fetched, by name; b"" of what the agent does not have."""
    engine = open_engine(database, writes=False)
    try:
        with engine.connect() as connection:
            found = connection.execute(sa.select(tables.picture.c.name, tables.picture.c.data))
            return {name: bytes(data) for name, data in found}
    finally:
        engine.dispose()


def kept(state: Path) -> dict[str, bytes]:
    """What the agent has kept, by id."""
    with closing(sqlite3.connect(state / "pictures.sqlite", timeout=20)) as db:
        return dict(db.execute("select name, data from picture"))


def test_the_pictures_of_stored_cells_and_frames_are_fetched_byte_for_byte(
    mosquitto: Broker, tmp_path: Path, database: str, device: str
) -> None:
    with running(mosquitto, device, tmp_path, **KEEP), fetching(settings_of(mosquitto, device, database)):
        assert until(lambda: len(told(database)[0]) >= 10, PATIENCE_S)
        names = set.union(*told(database))
        assert until(lambda: names <= fetched(database).keys(), PATIENCE_S)
        there = fetched(database)
        here = kept(tmp_path / "state")
    assert {name: there[name] for name in names} == {name: here.get(name, b"") for name in names}
    assert all(there[name] for name in names)
    with reading(database) as connection:
        one, *_ = cells(connection)
        shown, frame = picture(connection, one.cell_id), frame_picture(connection, one.frame_id)
    assert shown is not None
    assert shown.box is not None
    assert (shown.device, shown.media_type) == (device, "image/png")
    assert frame is not None
    assert (frame.width, frame.height, frame.media_type) == (320, 240, "image/jpeg")


def collector_process(settings: CollectorSettings) -> "subprocess.Popen[bytes]":
    wanted = {
        "name": settings.name, "device": settings.device, "database": settings.database,
        "mqtt.port": settings.mqtt.port, "mqtt.prefix": settings.mqtt.prefix, "pictures.fetch": "true",
    }  # fmt: skip
    pairs = [part for name, value in wanted.items() for part in ("--set", f"{name}={value}")]
    return subprocess.Popen([sys.executable, "-m", "collector", "--log", "ERROR", *pairs])


def test_a_collector_that_is_killed_goes_on_where_it_was(mosquitto: Broker, tmp_path: Path, device: str) -> None:
    database = f"sqlite:///{tmp_path / 'c.sqlite'}"
    settings = settings_of(mosquitto, device, database)
    with running(mosquitto, device, tmp_path, **KEEP):
        before = 0
        for _ in range(3):
            with collector_process(settings) as process:
                assert until(lambda: told(database)[0] and len(fetched(database)) > before + 5, PATIENCE_S)  # noqa: B023
                process.send_signal(signal.SIGKILL)
            before = len(fetched(database))
        with fetching(settings):
            names = set.union(*told(database))
            assert until(lambda: names <= fetched(database).keys(), PATIENCE_S)
        there, here = fetched(database), kept(tmp_path / "state")
    assert all(here.get(name, b"") == there[name] for name in names)
    assert len([name for name in names if there[name]]) > 15


@contextmanager
def agent_process(broker: Broker, device: str, state: Path) -> Iterator["subprocess.Popen[bytes]"]:
    wanted = {
        "site": SITE, "device": device, "state_dir": state, "mqtt.port": broker.port, "mqtt.prefix": "test",
        "outbox.forget_on": "consumer", "source.kind": "synthetic", "source.fps": "10", "source.width": "320",
        "source.height": "240", **KEEP,
    }  # fmt: skip
    pairs = [part for name, value in wanted.items() for part in ("--set", f"{name}={value}")]
    with subprocess.Popen([sys.executable, "-m", "agent", "--log", "ERROR", "run", *pairs]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_what_an_agent_kept_before_it_was_killed_is_fetched_when_it_is_back(
    mosquitto: Broker, tmp_path: Path, device: str
) -> None:
    state, database = tmp_path / "state", f"sqlite:///{tmp_path / 'c.sqlite'}"
    with agent_process(mosquitto, device, state):
        assert until((state / "pictures.sqlite").exists, PATIENCE_S)
        assert until(lambda: has_table(state) and len(kept(state)) > 20, PATIENCE_S)
    before = kept(state)
    settings = settings_of(mosquitto, device, database)
    with agent_process(mosquitto, device, state), fetching(settings):
        assert until(lambda: before.keys() <= set.union(*told(database)), PATIENCE_S)
        assert until(lambda: before.keys() <= fetched(database).keys(), PATIENCE_S)
    there = fetched(database)
    assert {name: there[name] for name in before} == before


def has_table(state: Path) -> bool:
    with closing(sqlite3.connect(state / "pictures.sqlite", timeout=20)) as db:
        return db.execute("select 1 from sqlite_master").fetchone() is not None


@pytest.mark.parametrize(
    ("more", "word"),
    [({"mqtt.commands": '["snapshot"]', **KEEP}, "is not in the setting mqtt.commands"), ({}, "set pictures.keep")],
)
def test_an_agent_that_hands_none_out_is_told_once_and_its_reports_are_stored(
    mosquitto: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture, more: dict[str, str], word: str
) -> None:
    device, database = f"deaf-{len(more)}", f"sqlite:///{tmp_path / 'c.sqlite'}"
    with running(mosquitto, device, tmp_path, **more), fetching(settings_of(mosquitto, device, database)):
        assert until(lambda: word in caplog.text, PATIENCE_S)
        before = len(told(database)[1])
        assert until(lambda: len(told(database)[1]) > before + 5, PATIENCE_S)
    said = [one for one in caplog.records if one.name == "collector.pictures" and one.levelname == "WARNING"]
    assert len(said) == 1
    assert fetched(database) == {}


def test_with_mqtt_3_1_1_it_says_that_no_agent_can_answer(
    mosquitto: Broker, tmp_path: Path, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(mosquitto, device, f"sqlite:///{tmp_path / 'c.sqlite'}")
    old = settings.model_copy(update={"mqtt": settings.mqtt.model_copy(update={"version": "3.1.1"})})
    with PictureFetcher(old).running():
        assert until(lambda: "no agent can answer" in caplog.text)


def test_a_user_who_may_not_ask_is_told_and_reports_go_on(
    open_mosquitto: Open, tmp_path: Path, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    rules, database = tmp_path / "acl", f"sqlite:///{tmp_path / 'c.sqlite'}"
    rules.write_text(f"topic read test/#\ntopic write test/v1/{SITE}/{device}/frame\ntopic write test/+/+/+/status\n")
    with ExitStack() as house:
        broker = house.enter_context(open_mosquitto(config_lines=[f"acl_file {rules}"]))
        house.enter_context(running(broker, device, tmp_path, **KEEP))
        house.enter_context(fetching(settings_of(broker, device, database)))
        assert until(lambda: "no pictures are fetched" in caplog.text, PATIENCE_S)
        assert until(lambda: len(told(database)[1]) > 5, PATIENCE_S)


def test_it_ends_at_once_while_its_broker_is_away(tmp_path: Path, mosquitto: Broker, device: str) -> None:
    settings = settings_of(mosquitto, device, f"sqlite:///{tmp_path / 'c.sqlite'}")
    away = settings.model_copy(update={"mqtt": settings.mqtt.model_copy(update={"port": 1})})
    fetcher = PictureFetcher(away)
    with fetcher.running():
        pass
    assert until(lambda: not fetcher._thread.is_alive(), 5)
