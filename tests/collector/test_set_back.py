"""A database that is taken away, or set back, while the collector uses it: nothing is acknowledged into the void."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from collector.settings import CollectorSettings
from collector.store import Store
from common.errors import StoreError
from contract.messages import FrameReport
from devbroker.broker import Broker
from mqttlink.settings import BrokerSettings
from tests.collecting import agent_on, collecting, stored, until
from tests.storing import frame, upto

Make = Callable[..., FrameReport]


@pytest.mark.parametrize("happens", ["removed", "replaced"])
def test_what_came_after_the_file_was_taken_away_is_not_acknowledged_there(
    tmp_path: Path, make_report: Make, happens: str
) -> None:
    path, other = tmp_path / "c.sqlite", tmp_path / "older.sqlite"
    with Store(f"sqlite:///{other}") as older:
        older.store([frame(make_report(1))])
    with Store(f"sqlite:///{path}") as store:
        store.store([frame(make_report(seq)) for seq in (1, 2)])
        path.unlink()
        if happens == "replaced":
            shutil.copy(other, path)
        assert not store.is_open
        with pytest.raises(StoreError, match="removed or replaced while it was in use"):
            store._check_file()
        assert upto(store.store([frame(make_report(3))])) == (1 if happens == "replaced" else 0)
    assert [seq for *_, seq in stored(f"sqlite:///{path}")] == ([1, 3] if happens == "replaced" else [3])


def count(database: str) -> int:
    """Reports in a database that may be about to be made."""
    with suppress(OperationalError):
        return len(stored(database))
    return 0


def test_a_file_that_goes_amid_the_work_is_made_again_with_all_that_was_not_acknowledged(
    mosquitto: Broker, make_report: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device, path = "set-back", tmp_path / "c.sqlite"
    settings = CollectorSettings(
        name=device,
        device=device,
        mqtt=BrokerSettings(port=mosquitto.port, prefix="back"),
        database=f"sqlite:///{path}",
    )
    with (
        agent_on(mosquitto, tmp_path, make_report, prefix="back", device=device) as agent,
        collecting(settings),
    ):
        agent.put(20)
        assert agent.has_forgotten_all()
        for part in tmp_path.glob("c.sqlite*"):
            part.unlink()
        agent.put(20)
        assert until(lambda: count(settings.database) == 20)
        assert "was removed or replaced while it was in use" in caplog.text
    assert stored(settings.database) == agent.made[20:]
