"""What acknowledgements tell of a store that was set back to an older copy: the agent's, or a consumer's."""

import logging

from contract.messages import Ack

log = logging.getLogger(__name__)
_MOST = 3
"""Epochs that one life begins for this reason: whoever may write on the topic could ask for them without end."""


class Doubts:
    """Hears every acknowledgement of the agent's own epoch; any thread may ask for the ``alarms``.

    Args:
        topic: where they come.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._begun = 0
        self._upto: dict[str, int] = {}
        self._ours = self._theirs = ""

    def heard(self, ack: Ack, next_seq: int) -> bool:
        """Whether it tells that our numbers were given before, so that a new epoch must begin."""
        highest = max(ack.upto, ack.seen or 0)
        if highest >= next_seq:
            self._ours = (
                f"an acknowledgement on {self._topic} speaks of report {highest} of this epoch, of which "
                f"{next_seq - 1} have been made: the outbox is an older copy, or another agent has one, or somebody "
                "else writes there; a new epoch was begun, and what was sent before may stand in a consumer's "
                "quarantine"
            )
            if self._begun < _MOST:
                self._begun += 1
                log.error("%s", self._ours)
                return True
            return False
        self._see_to(ack)
        return False

    def _see_to(self, ack: Ack) -> None:
        before = self._upto.get(ack.epoch, 0)
        if ack.upto >= before:
            self._upto, self._theirs = {ack.epoch: ack.upto}, ""
        elif not self._theirs:
            self._theirs = (
                f"a consumer that had acknowledged the reports up to {before} acknowledges {ack.upto}: its database "
                "was set back, and what is missing there can not be sent again; or a second consumer acknowledges too"
            )
            log.error("%s", self._theirs)

    def alarms(self) -> list[str]:
        """What a person should see to, in words."""
        return [*filter(None, [self._ours, self._theirs])]
