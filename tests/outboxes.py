"""An outbox and what lies in it, for tests."""

from collections.abc import Callable

from agent.wire.outbox import Outbox
from contract.messages import FrameReport

Make = Callable[..., FrameReport]


def put_one(outbox: Outbox, make_report: Make, **changes: object) -> int:
    seq = outbox.next_seq()
    outbox.put(make_report(seq, outbox.epoch, **changes))
    return seq
