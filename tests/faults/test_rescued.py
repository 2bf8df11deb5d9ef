"""An outbox is damaged amid: what can be read of it reaches the collector, and does not wait for what can not."""

import threading
from collections.abc import Callable
from pathlib import Path

from agent.ops.health import Counters
from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from collector.settings import CollectorSettings
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker
from tests.collecting import collecting, stored, until

Make = Callable[..., FrameReport]
TOPICS = Topics(prefix="rescued", site="lab", device="scope-1")
REPORTS, PAGE_BYTES = 200, 4096


def damaged_outbox(path: Path, make_report: Make) -> None:
    """Two holes amid the reports of one epoch."""
    with Outbox(path, max_mb=8) as outbox:
        for seq in range(1, REPORTS + 1):
            outbox.put(make_report(seq, outbox.epoch))
    with path.open("r+b") as file:
        for page in (10, 20):
            file.seek(page * PAGE_BYTES)
            file.write(b"\xa5" * PAGE_BYTES)


def test_rescued_reports_leave_though_others_between_them_are_lost(
    mosquitto: Broker, make_report: Make, tmp_path: Path
) -> None:
    damaged_outbox(tmp_path / "outbox.sqlite", make_report)
    database = f"sqlite:///{tmp_path}/collected.sqlite"
    mqtt = {"port": mosquitto.port, "prefix": "rescued"}
    settings = CollectorSettings.model_validate({"name": "rescued", "mqtt": mqtt, "database": database})
    ended = threading.Event()
    with (
        Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox,
        collecting(settings),
        Publisher(MqttSettings.model_validate(mqtt), TOPICS, outbox, forget_on="consumer", version="1") as publisher,
    ):
        rescued = [FrameReport.model_validate_json(body).seq for _, body in outbox.pending(0, REPORTS)]
        assert max(rescued) - min(rescued) >= len(rescued) > REPORTS // 2, "there is no hole: this test shows nothing"

        def beat() -> None:
            while not ended.wait(0.2):
                publisher.health(Counters().health(queued=outbox.count(), engine="x", outbox=outbox))

        heart = threading.Thread(target=beat)
        heart.start()
        try:
            assert until(lambda: outbox.count() == 0, 30), outbox.oldest_rescued()
        finally:
            ended.set()
            heart.join()
    assert sorted(seq for _, _, seq in stored(database)) == rescued
