"""Which verdicts stand, what each cell is called by them, and the counts with them.

Pure functions of a record and a log. A page hands in the log that its person may see (``readings.visible``): what is
left out there counts as not said.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, TypeGuard

from contract.labels import LABELS, Label
from dashboard.records import Counts, SlideRecord
from dashboard.reviews.events import BLIND, READINGS, UNSURE, Reading, SlideLog, Verdict
from dashboard.reviews.readings import Readings

Source: TypeAlias = Literal["model", "reading", "readings", "disputed", "adjudication"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The verdicts that stand.

    Attributes:
        readings: of the first and the second reading, those of its holder, by the cell's present name.
        adjudication: those of each person who adjudicates, by person and by the cell's present name.
        gone: verdicts on cells that are no longer on the slide; they count nowhere.
        torn: of each reading the cells that were taken for several, of which one person has said different things and
            nothing since, with these verdicts; no verdict on such a cell stands.
    """

    readings: Mapping[Reading, Mapping[str, Verdict]]
    adjudication: Mapping[str, Mapping[str, Verdict]]
    gone: tuple[Verdict, ...]
    torn: Mapping[Reading, Mapping[str, tuple[Verdict, ...]]]

    @property
    def disputed(self) -> dict[str, tuple[Verdict, Verdict]]:
        """Cells that the two readings call differently, with both verdicts, adjudicated or not."""
        first, second = (self.readings[reading] for reading in BLIND)
        both = ((name, (one, second[name])) for name, one in first.items() if name in second)
        return {name: pair for name, pair in both if pair[0].label != pair[1].label}

    @property
    def apart(self) -> dict[str, tuple[Verdict, ...]]:
        """Verdicts that differ, of both readings or of one person, by the cell's present name, settled or not."""
        found: dict[str, tuple[Verdict, ...]] = {**self.disputed}
        for torn in self.torn.values():
            for name, verdicts in torn.items():
                found[name] = found.get(name, ()) + verdicts
        return found


class FinalLabel(NamedTuple):
    """What a cell is called in the end.

    Attributes:
        label: one of ``LABELS`` or a class of the laboratory; `uncertain` where the readings differ, or one person's
            verdicts on what has become one cell.
        source: who says so: the `model` (nobody has looked), one `reading`, both `readings`, `disputed` where verdicts
            differ, or the `adjudication`.
        by: the verdicts that say so.
    """

    label: str
    source: Source
    by: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class CorrectedCounts:
    """How many cells are called what in the end.

    Attributes:
        counts: of the model's labels; classes of the laboratory are not among them.
        apart: how many cells have each class of the laboratory, by its name.
        disputed: how many of the uncertain ones are so because verdicts differ.
    """

    counts: Counts
    apart: Mapping[str, int]
    disputed: int


def in_force(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts that no undo has taken back, in their order."""
    found = list(verdicts)
    undone = {one.undoes for one in found if one.undoes is not None}
    return [one for one in found if one.undoes is None and one.id not in undone]


class Names:
    """The names that the cells of a record have and had."""

    def __init__(self, record: SlideRecord) -> None:
        self._renamed = record.renamed
        self._former = defaultdict[str, list[str]](list)
        for old, name in record.renamed.items():
            if name is not None:
                self._former[name].append(old)

    def present(self, name: str) -> str | None:
        """The present name of a cell by a name that it had once; None if the cell was taken back."""
        return self._renamed.get(name, name)

    def every(self, name: str) -> list[str]:
        """Every name of the cell that has, or had, a name; its present one first."""
        now = self.present(name)
        return [name] if now is None else [now, *self._former.get(now, ())]


def standing(record: SlideRecord, log: SlideLog) -> Standing:
    """The verdicts that stand: of each reader the latest on each cell, whatever the cell was called then."""
    holders, names = Readings.of(log.acts).holders, Names(record)
    here = {cell.object_id for cell in record.cells}
    said = defaultdict[tuple[Reading, str, str], list[Verdict]](list)
    gone = []
    for one in in_force(log.verdicts):
        name = names.present(one.object_id)
        if one.reading in BLIND and holders.get(one.reading) != one.reviewer:
            continue  # of a reading that was released
        if name is None or name not in here:
            gone.append(one)
        else:
            said[one.reading, one.reviewer, name].append(one)
    readings: dict[Reading, dict[str, Verdict]] = {reading: {} for reading in BLIND}
    adjudication = defaultdict[str, dict[str, Verdict]](dict)
    torn: dict[Reading, dict[str, tuple[Verdict, ...]]] = {reading: {} for reading in READINGS}
    for (reading, reviewer, name), verdicts in said.items():
        latest = _since_joined(verdicts, name, record.joined.get(name, 0))
        if len({one.label for one in latest}) > 1:
            torn[reading][name] = torn[reading].get(name, ()) + latest
        elif reading in BLIND:
            readings[reading][name] = latest[-1]
        else:
            adjudication[reviewer][name] = latest[-1]
    return Standing(readings, adjudication, tuple(gone), torn)


def _since_joined(verdicts: Sequence[Verdict], name: str, joined: int) -> tuple[Verdict, ...]:
    """What one person says last of a cell: one verdict, or the last of each name that was not yet known to be its.

    Args:
        verdicts: of one person in one reading, in force, in their order.
        name: the cell's present one.
        joined: see ``SlideRecord.joined``; 0 where the cell never was several, or nobody knows when it was.
    """
    latest: dict[str, Verdict] = {}
    for one in verdicts:
        if one.object_id == name and one.upto >= joined:
            latest.clear()  # the person had the whole cell on the screen
        latest.pop(one.object_id, None)
        latest[one.object_id] = one
    return tuple(latest.values())


def final_labels(record: SlideRecord, log: SlideLog) -> dict[str, FinalLabel]:
    """What each cell of the record is called in the end, by its name.

    An adjudication goes before the readings: the latest word of a person who holds neither, or that of both readers if
    they agree there.
    """
    stands = standing(record, log)
    readers = tuple(Readings.of(log.acts).holders.values())
    latest = _third_words(stands, readers)
    return {cell.object_id: _final(cell.object_id, cell.label, stands, latest, readers) for cell in record.cells}


def corrected_counts(record: SlideRecord, finals: Mapping[str, FinalLabel]) -> CorrectedCounts:
    """The counts with the corrections, each cell of the record once; ``record.counts`` are those without."""
    of_model: list[Label] = []
    apart = Counter[str]()
    disputed = 0
    for cell in record.cells:
        final = finals[cell.object_id]
        disputed += final.source == "disputed"
        if is_label(final.label):
            of_model.append(final.label)
        else:
            apart[final.label] += 1
    return CorrectedCounts(Counts.of(of_model), dict(sorted(apart.items())), disputed)


def is_label(text: str) -> TypeGuard[Label]:
    """Whether a text is one of the model's labels, and no class of the laboratory."""
    return text in LABELS


def _third_words(stands: Standing, readers: Sequence[str]) -> dict[str, Verdict]:
    """The latest adjudication of each cell by somebody who held no reading."""
    latest: dict[str, Verdict] = {}
    for person, verdicts in stands.adjudication.items():
        for name, one in verdicts.items() if person not in readers else ():
            if name not in latest or latest[name].id < one.id:
                latest[name] = one
    return latest


def _final(
    name: str, label: Label, stands: Standing, latest: Mapping[str, Verdict], readers: Sequence[str]
) -> FinalLabel:
    if name in latest:
        return FinalLabel(latest[name].label, "adjudication", (latest[name],))
    agreed = [stands.adjudication[reader][name] for reader in readers if name in stands.adjudication.get(reader, {})]
    if len(agreed) == len(BLIND) and agreed[0].label == agreed[1].label:
        return FinalLabel(agreed[0].label, "adjudication", tuple(agreed))
    said = tuple(stands.readings[reading][name] for reading in BLIND if name in stands.readings[reading])
    torn = tuple(one for reading in READINGS for one in stands.torn[reading].get(name, ()))
    if len({one.label for one in (*said, *torn)}) > 1:
        return FinalLabel(UNSURE, "disputed", (*said, *torn))
    if said:
        return FinalLabel(said[0].label, "reading" if len(said) == 1 else "readings", said)
    return FinalLabel(label, "model")
