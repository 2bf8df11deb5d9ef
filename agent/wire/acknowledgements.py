"""What consumers acknowledge, and for how long they have acknowledged nothing."""

import logging

from pydantic import ValidationError

from agent.wire.delivery import Delivery
from agent.wire.doubts import Doubts
from agent.wire.outbox import Outbox
from contract.messages import Ack
from mqttlink.responses import Incoming

log = logging.getLogger(__name__)


class Acknowledgements:
    """Tells the delivery what consumers have stored. Any thread may ask for ``alarms``; the rest is the publisher's.

    Args:
        topic: where acknowledgements come.
        outbox: where the reports are.
        delivery: of these reports.
        forgets: the outbox forgets what is acknowledged; else it is only heard whether a store was set back.

    Attributes:
        ignored: how many messages on the topic were no acknowledgement of ours.
    """

    def __init__(self, topic: str, outbox: Outbox, delivery: Delivery, *, forgets: bool) -> None:
        self._topic, self._outbox, self._delivery, self._forgets = topic, outbox, delivery, forgets
        self._doubts, self._silence_told = Doubts(topic), False
        self.ignored = 0

    def take_up(self, message: Incoming) -> None:
        """Heed a message on the topic; OutboxError if the outbox can not be written."""
        known, level = False, logging.WARNING
        try:
            ack = Ack.model_validate_json(message.payload)
            if ack.epoch != self._outbox.epoch:
                level = logging.DEBUG  # of an outbox that was here before: consumers remember longer
            if ack.epoch == self._outbox.epoch and self._doubts.heard(ack, self._outbox.next_seq()):
                self._outbox.begin_epoch()
                self._delivery.reconnected()  # what is on its way bears numbers that are no good
            else:
                known = not self._forgets or self._delivery.acknowledged(ack.epoch, ack.upto, ack.seen)
        except ValidationError:
            pass
        if not known:
            self.ignored += 1
            log.log(level, "ignored a message on %s: it is no acknowledgement of ours", self._topic)

    def alarms(self, *, silent_after_s: float, connected_s: float) -> list[str]:
        """What a person should see to: stores that were set back, and consumers that are silent.

        Args:
            silent_after_s: for so long, though the broker is there.
            connected_s: since when it is; what waited for the broker is not the consumers' fault.
        """
        silent = min(self._delivery.silence_s() or 0.0, connected_s) >= silent_after_s
        words = _no_word_of_consumers(self._topic, silent_after_s) if silent else ""
        if silent and not self._silence_told:
            log.warning("%s", words)
        self._silence_told = silent
        return [*self._doubts.alarms(), *([words] if silent else [])]


def _no_word_of_consumers(topic: str, after_s: float) -> str:
    return (
        f"no consumer has acknowledged anything new for more than {after_s:g} s, and the outbox fills: see that "
        "microscope-collect runs, what `microscope-collect status` says is missing, and that the broker's access list "
        f"lets it write and us read {topic}"
    )
