"""What is stored of a slide's review, as values, in the order in which it came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias, get_args

from common.errors import UsageError
from contract.labels import Label
from dashboard.records import SlideKey
from dashboard.security.roles import Role

Reading: TypeAlias = Literal["1", "2", "adjudication"]
READINGS: tuple[Reading, ...] = get_args(Reading)
BLIND: tuple[Reading, ...] = ("1", "2")
"""Readings whose holders do not see each other's verdicts until both have signed."""
Kind: TypeAlias = Literal["confirm", "correct", "unsure", "undo"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ActKind: TypeAlias = Literal["begin", "release", "unseal", "sign", "withdraw"]
UNSURE: Label = "uncertain"
"""The label of a verdict `unsure`, and of what nobody has settled."""

Refusal: TypeAlias = Literal[
    "call_id", "label", "note", "twice", "not_shown", "uncertain", "nothing_to_undo", "not_holder", "taken", "unsealed",
    "signed", "not_signed", "unreviewed", "disputed", "reason", "not_yours", "unknown",
]  # fmt: skip


class ReviewRefusedError(UsageError):
    """A call that is refused, by which nothing was stored; ``why`` names the rule, for texts in other languages.

    Attributes:
        values: what such a text names, by its place there; empty where the rule has no text of its own.
    """

    def __init__(self, why: Refusal, text: str, **values: object) -> None:
        super().__init__(text)
        self.why, self.values = why, values


class Given(NamedTuple):
    """What a reviewer says of one cell.

    Attributes:
        object_id: of the cell, as the reviewer's page names it.
        kind: `confirm` the model's label, `correct` it, `unsure`, or `undo` the reviewer's latest verdict on the cell,
            by which the one before stands again.
        label: of a `correct`: `normal`, `blast`, `not_judged` or a class of the laboratory; else empty.
        note: a remark.
    """

    object_id: str
    kind: Kind
    label: str = ""
    note: str = ""


class Verdict(NamedTuple):
    """A stored verdict, or the undo of one.

    Attributes:
        id: its number; verdicts are numbered in their order.
        object_id: of the cell, as it was called then.
        label: that the reviewer gave; of an undo, of the verdict that is taken back.
        at: when, UTC.
        call_id: the browser's name of the call.
        undoes: of an undo: ``id`` of the verdict that it takes back.
        seen_cell_id: best view of the cell when it was on the screen.
        seen_label: what the model called it then.
        seen_probability: of a blast, by the model.
        seen_model_id: which model.
        upto: ``SlideRecord.upto`` when the verdict was given.
    """

    id: int
    object_id: str
    reviewer: str
    role: Role
    reading: Reading
    kind: Kind
    label: str
    note: str
    at: datetime
    call_id: str
    undoes: int | None
    seen_cell_id: str
    seen_label: Label
    seen_probability: float | None
    seen_model_id: str
    upto: int


class Act(NamedTuple):
    """What was done with a reading as a whole.

    Attributes:
        id: its number; acts are numbered in their order.
        kind: `begin` and `release` a reading, `unseal` (show a person what others have read), `sign`, `withdraw`.
        person: who did it.
        reason: of a release or a withdrawal.
        takes_back: of a withdrawal: ``id`` of the signature.
        at: when, UTC.
        call_id: the browser's name of the call.
        upto: of a signature: ``SlideRecord.upto`` of what was signed.
        last_verdict: number of the slide's last verdict when it was done.
        statement: of a signature: what was signed, JSON.
        digest: SHA-256 of the statement.
    """

    id: int
    reading: Reading
    kind: ActKind
    person: str
    role: Role
    reason: str
    takes_back: int | None
    at: datetime
    call_id: str
    upto: int
    last_verdict: int
    statement: str
    digest: str


class Seen(NamedTuple):
    """A cell as it was last on a reviewer's screen."""

    object_id: str
    last_at: datetime
    cell_id: str
    label: Label
    probability: float | None
    model_id: str


@dataclass(frozen=True, slots=True)
class SlideLog:
    """All that is stored of a slide's review.

    Attributes:
        key: which slide.
        version: counts every change; 0 where nothing is stored.
        verdicts: in their order.
        acts: in their order.
    """

    key: SlideKey
    version: int = 0
    verdicts: Sequence[Verdict] = ()
    acts: Sequence[Act] = ()
