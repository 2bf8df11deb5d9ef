"""What every export says of a slide beside its counts: who judged it, what was refused, what to look at first."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from contract.messages import Interval, SlideSummary
from dashboard.records import SlideCell, SlideRecord
from dashboard.texts import Texts


class Judge(NamedTuple):
    """A model that has judged cells of a slide.

    Attributes:
        id: its name.
        sha256: of its bundle's manifest; empty where no summary names it, as the two that follow.
        gate: `passed` or `skipped`.
        colour: how cells were made to look like the training's.
    """

    id: str
    sha256: str = ""
    gate: str = ""
    colour: str = ""


def judges(record: SlideRecord) -> Sequence[Judge]:
    """The models of a slide in their order; one stands twice if it ran in two ways."""
    told = dict.fromkeys(
        Judge(one.model.id, one.model.sha256, one.model.gate, one.model.colour) for one in record.standing
    )
    names = {judge.id for judge in told}
    untold = [Judge(name) for name in record.models if name not in names]
    return sorted([*told, *untold], key=lambda judge: _place(record.models, judge.id))


def corrected(record: SlideRecord) -> SlideSummary | None:
    """The summary that has the share corrected for the model's known error; None where no one summary can have it.

    The agent computes it for one count. Of several there is none for all of them, and of two we make up no third;
    nor is there one of a count of which some pictures were read again by another.
    """
    only = record.standing[0] if len(record.standing) == 1 else None
    if record.read_again and only is not record.summaries[-1:][0]:
        return None
    known = only is not None and only.corrected_fraction is not None and only.corrected_interval is not None
    return only if known else None


def counted_words(record: SlideRecord, texts: Texts) -> list[str]:
    """What must be said of a slide that was counted, or of which pictures were read, more than once; else nothing."""
    times, again = len(record.standing), record.read_again
    said = [texts.get("recount.many", count=times)] if times > 1 else []
    return said + ([texts.get("recount.again", count=again)] if again else [])


def scale_words(record: SlideRecord, texts: Texts) -> str:
    """The scale of the frames, or all that they have, the most frequent first; that it is not known where none has."""
    said = [texts.get("format.scale", value=scale) for scale in record.scales]
    return "; ".join(said) or texts.get("format.unknown")


def share_words(texts: Texts, fraction: float | None, interval: Interval | None) -> str:
    """A share with its interval in words; that there is none where no cell is called normal or blast."""
    if fraction is None or interval is None:
        return texts.get("printed.no_share")
    low, high, level = 100 * interval.low, 100 * interval.high, 100 * interval.level
    return texts.get("printed.share", share=100 * fraction, level=level, low=low, high=high)


def refused_by(record: SlideRecord) -> dict[str, int]:
    """How many frames were refused for each reason, the most frequent first; a frame may have several."""
    return dict(Counter(reason for frame in record.refused for reason in frame.reasons).most_common())


def most_suspicious(record: SlideRecord, count: int) -> Sequence[SlideCell]:
    """The judged cells that are most probably blasts, at most so many, the most probable first."""
    judged = [(cell.probability, cell) for cell in record.cells if cell.probability is not None]
    return [cell for _, cell in sorted(judged, key=lambda one: -one[0])[:count]]


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)
