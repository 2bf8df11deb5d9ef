"""Messages for the collector's store, and what it has made of them."""

from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from collector.arrivals import Arrival
from collector.database import open_engine
from collector.store import Outcome
from contract.health_messages import Health, Status
from contract.messages import FrameReport

EPOCH = "0123456789abcdef"
ROOT = "microscopy/v1/lab/scope-1"
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def frame(payload: FrameReport | bytes, root: str = ROOT) -> Arrival:
    body = payload if isinstance(payload, bytes) else payload.model_dump_json().encode()
    return Arrival(f"{root}/frame", body, NOW)


def health(oldest: int, epoch: str = EPOCH) -> Arrival:
    message = Health(at=NOW, frames=0, refused=0, cells=0, queued=0, engine="", epoch=epoch, oldest=oldest)
    return Arrival(f"{ROOT}/health", message.model_dump_json().encode(), NOW)


def online() -> Arrival:
    return Arrival(f"{ROOT}/status", Status(state="online").model_dump_json().encode(), NOW)


def acks(outcome: Outcome) -> dict[str, int]:
    return {f"{reply.topic} {reply.ack.epoch}": reply.ack.upto for reply in outcome.replies}


def rows(database: str, table: sa.Table) -> list[Any]:
    engine = open_engine(database)
    with engine.connect() as connection:
        found = list(connection.execute(sa.select(table)))
    engine.dispose()
    return found


def upto(outcome: Outcome) -> int:
    [found] = acks(outcome).values()
    return found
