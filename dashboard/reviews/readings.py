"""Who holds which reading of a slide, what is signed, and what a person may see of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dashboard.reviews.events import BLIND, Act, Reading, ReviewRefusedError, SlideLog


@dataclass(frozen=True, slots=True)
class Readings:
    """A slide's readings, as its acts leave them.

    Attributes:
        holders: who holds the first and the second reading.
        signatures: those in force, in their order.
        revealed: number of the last verdict when both readings were first signed; None if they never were.
        unsealed: who has seen what others have read while holding no reading.
    """

    holders: Mapping[Reading, str] = field(default_factory=dict)
    signatures: Sequence[Act] = ()
    revealed: int | None = None
    unsealed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, acts: Sequence[Act]) -> "Readings":
        """Follow the acts of a slide in their order."""
        holders: dict[Reading, str] = {}
        signatures: dict[int, Act] = {}
        unsealed: set[str] = set()
        revealed: int | None = None
        for act in acts:
            if act.kind == "begin":
                holders[act.reading] = act.person
            elif act.kind == "release":
                holders.pop(act.reading, None)
            elif act.kind == "unseal":
                unsealed.add(act.person)
            elif act.kind == "sign":
                signatures[act.id] = act
            elif act.takes_back is not None:
                signatures.pop(act.takes_back, None)
            if revealed is None and {one.reading for one in signatures.values()} >= set(BLIND):
                revealed = act.last_verdict
        return cls(holders, tuple(signatures.values()), revealed, frozenset(unsealed))

    def signed(self, reading: Reading) -> tuple[Act, ...]:
        """The signatures of a reading that are in force; one at most of the first and of the second."""
        return tuple(act for act in self.signatures if act.reading == reading)

    @property
    def both_signed(self) -> bool:
        """Whether the first and the second reading are signed."""
        return all(self.signed(reading) for reading in BLIND)

    def held_by(self, person: str) -> Reading | None:
        """The reading that a person holds, the first or the second."""
        return next((reading for reading, holder in self.holders.items() if holder == person), None)

    def free_for(self, person: str) -> Reading:
        """The reading that a person may begin, or holds already.

        Raises:
            ReviewRefusedError: both are held by others, or the person knows what one of them says.
        """
        if held := self.held_by(person):
            return held
        free = next((reading for reading in BLIND if reading not in self.holders), None)
        if free is None:
            who = " and ".join(self.holders[reading] for reading in BLIND)
            raise ReviewRefusedError("taken", f"both readings of this slide are held, by {who}; one must be released")
        if person in self.unsealed and self.holders:
            raise ReviewRefusedError(
                "unsealed",
                f"{person} has seen what another reader says of this slide, so a reading by {person} would not be "
                "independent; let somebody else read it",
            )
        return free


def visible(log: SlideLog, person: str, *, may_review: bool) -> SlideLog:
    """What a person may see of a slide's log.

    Until both readings have been signed, their holders see their own verdicts alone, and of the other reading that it
    is signed but not what. Who holds no reading sees of both what is signed; a person who may still begin a reading
    sees it after the act `unseal` only, for then a reading by that person is refused.

    Args:
        log: the whole.
        person: who looks.
        may_review: whether the person's role lets them read slides.
    """
    readings = Readings.of(log.acts)
    if readings.revealed is not None:
        return log
    own = readings.held_by(person)
    open_to = {own} if own else set[Reading | None]()
    if own is None and (not may_review or person in readings.unsealed):
        open_to = {act.reading for act in readings.signatures}
    return replace(
        log,
        verdicts=tuple(one for one in log.verdicts if one.reading in open_to or one.reviewer == person),
        acts=tuple(act if act.reading in open_to else _sealed(act) for act in log.acts),
    )


def _sealed(act: Act) -> Act:
    """An act that tells nothing of what was read."""
    return act._replace(statement="", digest="", reason="", last_verdict=0)
