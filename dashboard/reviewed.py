"""What people have said of a slide, for pages and exports: the reviews' log made into values."""

from dashboard.exports.review_summary import ReviewSummary, Signature
from dashboard.records import SlideRecord
from dashboard.reviews.agreement import agreement
from dashboard.reviews.events import SlideLog
from dashboard.reviews.readings import Readings
from dashboard.reviews.signing import check_signature
from dashboard.reviews.standing import corrected_counts, final_labels


def summary_of(record: SlideRecord, log: SlideLog) -> ReviewSummary | None:
    """What the readings of a slide have come to; None where nobody has said anything.

    Args:
        record: the slide.
        log: what the person who asks may see, see ``readings.visible``.
    """
    if not log.verdicts and not Readings.of(log.acts).signatures:
        return None
    finals = final_labels(record, log)
    corrected = corrected_counts(record, finals)
    found = agreement(record, log)
    signatures = []
    for act in Readings.of(log.acts).signatures:
        holds = check_signature(act, record, log) if act.statement else None
        outdated = holds is not None and not (holds.is_current and holds.is_whole)
        signatures.append(Signature(act.person, act.role, act.at, act.reading, act.digest, outdated=outdated))
    sealed = tuple(dict.fromkeys(act.person for act in Readings.of(log.acts).signatures if not act.statement))
    return ReviewSummary(
        counts=None if sealed else corrected.counts,
        signatures=tuple(signatures),
        apart={} if sealed else corrected.apart,
        labels={name: final.label for name, final in finals.items() if final.source != "model"},
        kappa=found.kappa.value if found and found.kappa else None,
        notes=tuple(one.note for one in log.verdicts if one.note),
        sealed=sealed,
    )
