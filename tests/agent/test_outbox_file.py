"""Outboxes that earlier releases made: each `outbox-messages-<version>.sql` is a dump of one, with its pragmas."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.wire.outbox import Outbox
from tests.outboxes import Make


@pytest.mark.parametrize("version", [1, 2])
def test_an_outbox_of_an_earlier_release_is_opened_and_gone_on_with(
    tmp_path: Path, make_report: Make, version: int
) -> None:
    """It holds reports 2 to 4, in messages of this version; report 1 was acknowledged."""
    path = tmp_path / "outbox.sqlite"
    with closing(sqlite3.connect(path)) as earlier:
        earlier.executescript(Path(__file__).with_name(f"outbox-messages-{version}.sql").read_text())
        (epoch,) = earlier.execute("select value from meta where key = 'epoch'").fetchone()
    with Outbox(path, max_mb=8) as outbox:
        held = [json.loads(body) for _, body in outbox.pending(0, 10)]
        assert (outbox.epoch, outbox.oldest(), outbox.next_seq()) == (epoch, 2, 5)
        assert [(report["schema_version"], report["seq"]) for report in held] == [(version, k) for k in (2, 3, 4)]
        outbox.put(make_report(5, epoch=epoch))
        assert outbox.acknowledge(epoch, 4) == 3
    with Outbox(path, max_mb=8) as outbox:
        assert (outbox.count(), outbox.oldest(), outbox.next_seq(), outbox.alarms()) == (1, 5, 6, [])
