"""The collector's database goes away amid the work, in several ways: nothing is lost, nothing is said too soon.

The other end is an agent's own outbox: it forgets what is acknowledged, so what it has forgotten was promised.
"""

import logging
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path

import pytest

from collector.arrivals import Arrival
from collector.rows import insert_reports
from collector.settings import CollectorSettings
from collector.store import Store
from contract.messages import FrameReport
from devbroker.broker import Broker
from mqttlink.settings import BrokerSettings
from tests.collecting import Agent, agent_on, collecting, stored, until
from tests.faults.test_disk_full import fill
from tests.faults.test_network import Wire
from tests.postgres import Cluster

log = logging.getLogger(__name__)
Make = Callable[..., FrameReport]
Open = Callable[[str], AbstractContextManager[Agent]]


@pytest.fixture
def agent_to(mosquitto: Broker, make_report: Make, tmp_path: Path) -> Open:
    """Enter agent, broker and collector at work, with the database of this address."""
    device = f"scope-{secrets.token_hex(4)}"

    @contextmanager
    def start(database: str) -> Iterator[Agent]:
        mqtt = BrokerSettings(port=mosquitto.port, prefix="broken")
        settings = CollectorSettings(name=device, device=device, mqtt=mqtt, database=database)
        with (
            agent_on(mosquitto, tmp_path, make_report, prefix="broken", device=device) as agent,
            collecting(settings),
        ):
            yield agent

    return start


def all_stored(agent: Agent, database: str) -> bool:
    return agent.has_forgotten_all() and stored(database) == agent.made


def test_a_server_that_is_killed_and_started_again(
    agent_to: Open, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """What it holds is looked at while nobody else can reach it."""
    aside = cluster.folder / "data"
    with agent_to(cluster.url) as agent:
        for goal in (50, 550):
            agent.put(400)
            assert until(lambda goal=goal: agent.outbox.oldest() > goal)  # type: ignore[misc]
            cluster.stop("immediate")
            agent.put(100)
            promised = agent.promised()
            log.info("the server was killed when %d of %d were promised", len(promised), len(agent.made))
            assert len(promised) < len(agent.made)
            cluster.start(socket=aside)
            assert set(promised) <= set(stored(cluster.url_at(aside)))
            cluster.stop("fast")
            assert agent.promised() == promised
            cluster.start()
        assert all_stored(agent, cluster.url)
    assert "nothing is acknowledged until it can" in caplog.text


@pytest.mark.requires_root
def test_a_server_whose_machine_is_gone_without_a_word(
    agent_to: Open, wire: Wire, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    there = str(ip_address(wire.address) + 1)
    with (cluster.folder / "data" / "pg_hba.conf").open("a") as access:
        access.write(f"host all all {wire.address}/32 trust\n")
    cluster.stop("fast")
    cluster.start(listen=there, within=["ip", "netns", "exec", wire.name])
    address = cluster.url_at(there)
    with agent_to(address) as agent:
        agent.put(50)
        assert all_stored(agent, address)
        wire.swallow()
        agent.put(50)
        began = time.monotonic()
        assert until(lambda: "nothing is acknowledged until it can" in caplog.text, 60)
        log.info("the silence was noticed after %.1f s", time.monotonic() - began)
        assert len(agent.promised()) == 50
        wire.unswallow()
        assert all_stored(agent, address)


def test_a_session_that_died_amid_a_transaction_does_not_keep_others_out_for_ever(
    cluster: Cluster, make_report: Make, agent_to: Open
) -> None:
    """As one's whose machine was switched off between insert and commit: the server knows nothing of it."""
    with Store(cluster.url) as lost, agent_to(cluster.url) as agent:
        connection = lost.open()
        connection.begin()
        report = make_report(1, agent.outbox.epoch, device=agent.device)
        arrival = Arrival("any", report.model_dump_json().encode(), datetime.now(timezone.utc))
        insert_reports(connection, {(report.device, report.epoch, 1): (report, arrival)})
        agent.put(5)
        assert all_stored(agent, cluster.url)


@pytest.mark.requires_root
@pytest.mark.parametrize("when", ["amid the work", "from the start"])
def test_a_disk_that_is_full_and_is_freed(
    agent_to: Open, tiny_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    file, others = tiny_disk / "collected.sqlite", tiny_disk / "others"
    if when == "from the start":
        fill(others)
    address = f"sqlite:///{file}"
    with agent_to(address) as agent:
        if when == "amid the work":
            agent.put(50)
            assert all_stored(agent, address)
            fill(others)
        began = time.monotonic()
        agent.put(300)
        assert until(lambda: "see that it runs and lets this user write, that its disk has room" in caplog.text)
        told_after_s = time.monotonic() - began
        promised = agent.promised()
        assert len(promised) < len(agent.made)
        assert set(promised) <= stored_in_a_copy(file, tmp_path / "copy")
        others.unlink()
        began = time.monotonic()
        assert all_stored(agent, address)
        log.info(
            "full %s: told after %.1f s, %d of 300 promised by then; freed, all was stored after %.1f s",
            *(when, told_after_s, len(promised), time.monotonic() - began),
        )


def stored_in_a_copy(file: Path, folder: Path) -> set[tuple[str, str, int]]:
    """Of a database whose disk has no room for another reader, nor perhaps for its tables."""
    folder.mkdir()
    for part in (file.name, f"{file.name}-wal"):
        with suppress(FileNotFoundError):
            shutil.copy(file.with_name(part), folder)
    with closing(sqlite3.connect(folder / file.name)) as copy:
        if not copy.execute("select 1 from sqlite_master where name = 'report'").fetchone():
            return set()
        return set(copy.execute("select device, epoch, seq from report"))
