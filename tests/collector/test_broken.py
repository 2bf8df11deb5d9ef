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
from dataclasses import dataclass, field
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from agent.settings import MqttSettings
from agent.wire.broker import Broker
from agent.wire.courier import Courier
from agent.wire.outbox import Outbox
from collector.rows import insert_reports
from collector.settings import CollectorSettings
from collector.store import Arrival, Store
from contract.connection import BrokerSettings
from contract.messages import FrameReport, Topics
from tests.collecting import collecting, stored, until
from tests.faults.test_disk_full import fill
from tests.faults.test_network import Wire
from tests.postgres import Cluster

log = logging.getLogger(__name__)
Make = Callable[..., FrameReport]
Open = Callable[[str], AbstractContextManager["Scene"]]
PREFIX = "broken"


@dataclass
class Scene:
    """An agent with its reports, and the database that they go to."""

    outbox: Outbox
    make_report: Make
    device: str
    database: str
    made: list[tuple[str, str, int]] = field(default_factory=list)

    def put(self, count: int) -> None:
        """So many reports more."""
        for _ in range(count):
            report = self.make_report(self.outbox.next_seq(), self.outbox.epoch, device=self.device)
            self.outbox.put(report)
            self.made.append((report.device, report.epoch, report.seq))

    def promised(self) -> list[tuple[str, str, int]]:
        """What the agent has forgotten, once no more words are under way."""
        before = -1
        while before != (before := self.outbox.oldest()):
            time.sleep(0.5)
        return self.made[: before - 1]

    def all_stored(self) -> bool:
        return until(lambda: self.outbox.count() == 0, 60) and stored(self.database) == self.made


@pytest.fixture
def scene_with(mosquitto: Broker, make_report: Make, tmp_path: Path) -> Open:
    """Enter agent, broker and collector at work, with the database of this address."""
    device = f"scope-{secrets.token_hex(4)}"

    @contextmanager
    def start(database: str) -> Iterator[Scene]:
        known: dict[str, Any] = {"port": mosquitto.port, "prefix": PREFIX}
        topics = Topics(prefix=PREFIX, site="lab", device=device)
        settings = CollectorSettings(name=device, device=device, mqtt=BrokerSettings(**known), database=database)
        with (
            Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox,
            Courier(MqttSettings(**known), topics, outbox, forget_on="consumer", version="1"),
            collecting(settings),
        ):
            yield Scene(outbox, make_report, device, database)

    return start


def test_a_server_that_is_killed_and_started_again(
    scene_with: Open, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """What it holds is looked at while nobody else can reach it."""
    aside = cluster.folder / "data"
    with scene_with(cluster.url) as scene:
        for goal in (50, 550):
            scene.put(400)
            assert until(lambda goal=goal: scene.outbox.oldest() > goal)  # type: ignore[misc]
            cluster.stop("immediate")
            scene.put(100)
            promised = scene.promised()
            log.info("the server was killed when %d of %d were promised", len(promised), len(scene.made))
            assert len(promised) < len(scene.made)
            cluster.start(socket=aside)
            assert set(promised) <= set(stored(cluster.url_at(aside)))
            cluster.stop("fast")
            assert scene.promised() == promised
            cluster.start()
        assert scene.all_stored()
    assert "nothing is acknowledged until it can" in caplog.text


@pytest.mark.requires_root
def test_a_server_whose_machine_is_gone_without_a_word(
    scene_with: Open, wire: Wire, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    there = str(ip_address(wire.address) + 1)
    with (cluster.folder / "data" / "pg_hba.conf").open("a") as access:
        access.write(f"host all all {wire.address}/32 trust\n")
    cluster.stop("fast")
    cluster.start(listen=there, within=["ip", "netns", "exec", wire.name])
    with scene_with(cluster.url_at(there)) as scene:
        scene.put(50)
        assert scene.all_stored()
        wire.swallow()
        scene.put(50)
        began = time.monotonic()
        assert until(lambda: "nothing is acknowledged until it can" in caplog.text, 60)
        log.info("the silence was noticed after %.1f s", time.monotonic() - began)
        assert len(scene.promised()) == 50
        wire.unswallow()
        assert scene.all_stored()


def test_a_session_that_died_amid_a_transaction_does_not_keep_others_out_for_ever(
    cluster: Cluster, make_report: Make, scene_with: Open
) -> None:
    """As one's whose machine was switched off between insert and commit: the server knows nothing of it."""
    with Store(cluster.url) as lost, scene_with(cluster.url) as scene:
        connection = lost.open()
        connection.begin()
        report = make_report(1, scene.outbox.epoch, device=scene.device)
        arrival = Arrival("any", report.model_dump_json().encode(), datetime.now(timezone.utc))
        insert_reports(connection, {(report.device, report.epoch, 1): (report, arrival)})
        scene.put(5)
        assert scene.all_stored()


@pytest.mark.requires_root
@pytest.mark.parametrize("when", ["amid the work", "from the start"])
def test_a_disk_that_is_full_and_is_freed(
    scene_with: Open, tiny_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    file, others = tiny_disk / "collected.sqlite", tiny_disk / "others"
    if when == "from the start":
        fill(others)
    with scene_with(f"sqlite:///{file}") as scene:
        if when == "amid the work":
            scene.put(50)
            assert scene.all_stored()
            fill(others)
        began = time.monotonic()
        scene.put(300)
        assert until(lambda: "see that it runs and lets this user write, that its disk has room" in caplog.text)
        told_after_s = time.monotonic() - began
        promised = scene.promised()
        assert len(promised) < len(scene.made)
        assert set(promised) <= stored_in_a_copy(file, tmp_path / "copy")
        others.unlink()
        began = time.monotonic()
        assert scene.all_stored()
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
