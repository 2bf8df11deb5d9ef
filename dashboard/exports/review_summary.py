"""What people said of a slide, as values: what exports show beside what the model said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dashboard.records import Counts, SlideCell


@dataclass(frozen=True, slots=True)
class Signature:
    """A reading that a person has signed.

    Attributes:
        name: of the person, as signed in.
        role: of the person in this program.
        at: when it was signed, aware.
        reading: `1`, `2` or `adjudication`.
        sha256: of the verdicts and counts that were signed; empty where it is not known.
        outdated: cells or verdicts came after it, so that it is of an earlier state.
    """

    name: str
    role: str
    at: datetime
    reading: str
    sha256: str = ""
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """What the readings of a slide have come to.

    Attributes:
        counts: by the final labels; cells that nobody reviewed count as the model calls them. None where a reading
            is signed that whoever asks may not see yet: any count would say that its reader changed nothing.
        signatures: in the order in which they were given.
        apart: how many cells each class of the laboratory has that is no white cell's, such as `smudge`; these are in
            none of ``counts``.
        labels: the final label of each reviewed cell, by its ``object_id``.
        kappa: Cohen's, of two readings; None where there are not two.
        notes: what the reviewers wrote, in order.
        sealed: who signed a reading that whoever asks may not see yet.
    """

    counts: Counts | None
    signatures: tuple[Signature, ...] = ()
    apart: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    kappa: float | None = None
    notes: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()


def verdicts_of(review: ReviewSummary | None) -> Mapping[str, str]:
    """What people call each cell that they reviewed, by its ``object_id``; nothing where it is not to be seen yet."""
    return {} if review is None or review.sealed else review.labels


def final_label(cell: SlideCell, review: ReviewSummary | None) -> str | None:
    """What a cell is called in the end: by its reviewers, else by the model; None where that is not to be seen yet."""
    if review is None:
        return cell.label
    return None if review.sealed else review.labels.get(cell.object_id, cell.label)
