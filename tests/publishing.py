"""Publishers to real brokers, and what is put into their outboxes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from contract.health_messages import Health
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker, find_program

Make = Callable[..., FrameReport]

SERVE = """
import sys, time
from pathlib import Path
from agent.wire.publisher import Publisher
from agent.wire.outbox import Outbox
from agent.settings import MqttSettings
from contract.messages import FrameReport
from contract.topics import Topics

path, port, device, forget_on, pattern, total = sys.argv[1:]
report = FrameReport.model_validate_json(pattern)
topics = Topics(prefix="test", site="lab", device=device)
with Outbox(Path(path), max_mb=8) as outbox:
    with Publisher(MqttSettings(port=int(port)), topics, outbox, forget_on=forget_on, version="1") as publisher:
        assert publisher.wait_connected(10), publisher.trouble
        while outbox.next_seq() <= int(total):
            outbox.put(report.model_copy(update={"epoch": outbox.epoch, "seq": outbox.next_seq()}))
            time.sleep(0.002)
        print("done", flush=True)
        time.sleep(60)
"""


@contextmanager
def publisher_apart(
    broker: Broker, file: Path, pattern: FrameReport, *, total: int, forget_on: str = "broker"
) -> Iterator["subprocess.Popen[bytes]"]:
    """A publisher in a process of its own that puts ``total`` reports like a pattern; killed at the end."""
    words = [str(broker.port), pattern.device, forget_on, pattern.model_dump_json(), str(total)]
    process = subprocess.Popen([sys.executable, "-c", SERVE, file, *words], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def publisher_to(broker: Broker | int, topics: Topics, outbox: Outbox, **changes: Any) -> Publisher:
    port = broker if isinstance(broker, int) else broker.port
    forget_on = changes.pop("forget_on", "broker")
    return Publisher(MqttSettings(port=port, **changes), topics, outbox, forget_on=forget_on, version="1.2.3")


def put(outbox: Outbox, make_report: Make, count: int) -> list[int]:
    seqs = list(range(outbox.next_seq(), outbox.next_seq() + count))
    for seq in seqs:
        outbox.put(make_report(seq, outbox.epoch))
    return seqs


def acknowledge(broker: Broker, topics: Topics, payload: str) -> None:
    program = str(find_program("mosquitto_pub"))
    subprocess.run([program, "-p", str(broker.port), "-q", "1", "-t", topics.ack, "-m", payload], check=True)


def seqs_of(messages: list[dict[str, Any]]) -> list[int]:
    return [json.loads(message["payload"])["seq"] for message in messages]


def health_of(frames: int) -> Health:
    return Health(at=datetime.now(timezone.utc), frames=frames, refused=0, cells=0, queued=0, engine="darkness")
