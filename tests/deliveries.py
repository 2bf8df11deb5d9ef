"""A delivery over a filled outbox, for tests."""

from collections.abc import Callable

from agent.wire.delivery import Delivery
from contract.messages import FrameReport

Make = Callable[..., FrameReport]


class Clock:
    """Seconds that pass when we say so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def send(delivery: Delivery) -> list[int]:
    """Hand over what is due, under tickets 1000 + seq; the numbers handed over."""
    seqs = [seq for seq, _ in delivery.next_batch(1000)]
    for seq in seqs:
        delivery.sent(1000 + seq, seq)
    return seqs
