"""What a signature says, when a reading may be signed, and whether a signature still holds."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from common.words import counted
from contract.messages import iso
from dashboard.records import Counts, SlideRecord
from dashboard.reviews.events import BLIND, UNSURE, Act, Reading, ReviewRefusedError, SlideLog, Verdict
from dashboard.reviews.readings import Readings
from dashboard.reviews.standing import CorrectedCounts, Standing, corrected_counts, final_labels, in_force, standing
from dashboard.security.roles import Role

_NAMED = 5
"""Cells that a refusal names."""


class SignatureCheck(NamedTuple):
    """Whether a signature holds.

    Attributes:
        is_whole: the statement is the one that was signed, and the stored verdicts are those of the statement.
        is_current: the record has the cells, names and labels that it had when it was signed.
        added: how many cells the record has now beyond those that were signed; below 0 if it has fewer.
    """

    is_whole: bool
    is_current: bool
    added: int


def check_signable(record: SlideRecord, log: SlideLog, reading: Reading, person: str) -> None:
    """Refuse a signature that would say too much.

    Raises:
        ReviewRefusedError: the person does not hold the reading or has signed it already; an uncertain cell was not
            looked at; for the adjudication: the readings are not both signed, or a disagreement is not settled.
    """
    readings, stands = Readings.of(log.acts), standing(record, log)
    if any(act.person == person or reading in BLIND for act in readings.signed(reading)):
        raise ReviewRefusedError("signed", f"this reading is signed by {person}; withdraw that signature first")
    if reading == "adjudication":
        if not readings.both_signed:
            raise ReviewRefusedError("not_signed", "an adjudication begins when both readings are signed")
        finals = final_labels(record, log)
        if left := [name for name, final in finals.items() if final.source == "disputed"]:
            raise ReviewRefusedError(
                "disputed",
                f"{counted(len(left), 'cell')} of which verdicts differ: {_some(left)}; settle each first",
                count=len(left),
                cells=_some(left),
            )
        return
    if readings.holders.get(reading) != person:
        raise ReviewRefusedError(
            "not_holder", f"{person} does not hold reading {reading} of this slide; begin it first"
        )
    if left := unreviewed(record, stands, reading):
        raise ReviewRefusedError(
            "unreviewed",
            f"{counted(len(left), 'uncertain cell')} not reviewed: {_some(left)}; give a verdict on each, `unsure` too",
            count=len(left),
            cells=_some(left),
        )


def unreviewed(record: SlideRecord, stands: Standing, reading: Reading) -> list[str]:
    """The cells that a reading must have a verdict on and has none: the model, or the reading itself, is uncertain."""
    done, torn = stands.readings[reading], stands.torn[reading]
    names = (cell.object_id for cell in record.cells if cell.label == UNSURE or cell.object_id in torn)
    return [name for name in names if name not in done]


def statement_of(
    record: SlideRecord, log: SlideLog, reading: Reading, person: str, role: Role, *, at: datetime, shown: int
) -> str:
    """What is signed, as JSON with sorted keys: who, what of, the counts, and the hashes of verdicts and cells.

    Args:
        record: the slide as it is signed.
        log: its whole log; of a first or second reading the verdicts of that reading alone are signed.
        reading: which.
        person: who signs.
        role: of the person.
        at: when, UTC.
        shown: how many cells were on the person's screen.
    """
    own = log if reading == "adjudication" else _of(log, reading)
    finals = final_labels(record, own)
    reviewed = [final for final in finals.values() if final.source != "model"]
    signed = verdicts_signed(log, reading, person)
    stated: dict[str, Any] = {
        "slide": record.key._asdict(),
        "reading": reading,
        "person": person,
        "role": role,
        "at": iso(at),
        "upto": record.upto,
        "is_open": record.is_open,
        "models": record.models,
        "cells": len(record.cells),
        "cells_sha256": cells_digest(record),
        "shown": shown,
        "reviewed": len(reviewed),
        "unsure": sum(final.label == UNSURE and final.source != "disputed" for final in reviewed),
        "model_counts": _counts(record.counts),
        "corrected_counts": _corrected(corrected_counts(record, finals)),
        "verdicts": len(signed),
        "verdicts_sha256": verdicts_digest(signed),
    }
    return canonical(stated)


def verdicts_signed(log: SlideLog, reading: Reading, person: str, last: int | None = None) -> list[Verdict]:
    """What a signature of a person is for, up to a number: the verdicts of the reading that no undo has taken back.

    Of an adjudication they are those of all readings.
    """
    every = (one for one in log.verdicts if last is None or one.id <= last)
    return in_force(one for one in every if reading not in BLIND or (one.reading, one.reviewer) == (reading, person))


def verdicts_digest(verdicts: Iterable[Verdict]) -> str:
    """SHA-256 over verdicts, whole, each in a line of JSON, in their order."""
    lines = (canonical({**one._asdict(), "at": iso(one.at)}) for one in verdicts)
    return digest_of("\n".join(lines))


def cells_digest(record: SlideRecord) -> str:
    """SHA-256 over the names of a record's cells and what the model calls them."""
    return digest_of(canonical(sorted((cell.object_id, cell.label) for cell in record.cells)))


def check_signature(act: Act, record: SlideRecord, log: SlideLog) -> SignatureCheck:
    """Whether a signature holds: computed again from the stored verdicts.

    Args:
        act: the signature.
        record: the slide as it is now.
        log: its whole log.
    """
    stated = json.loads(act.statement) if digest_of(act.statement) == act.digest else None
    if stated is None:
        return SignatureCheck(is_whole=False, is_current=False, added=0)
    found = verdicts_digest(verdicts_signed(log, act.reading, act.person, act.last_verdict))
    return SignatureCheck(
        is_whole=stated["verdicts_sha256"] == found,
        is_current=stated["cells_sha256"] == cells_digest(record),
        added=len(record.cells) - stated["cells"],
    )


def digest_of(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(value: object) -> str:
    """A value as JSON in the one form that is hashed: keys sorted, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _of(log: SlideLog, reading: Reading) -> SlideLog:
    return SlideLog(log.key, log.version, [one for one in log.verdicts if one.reading == reading], log.acts)


def _counts(counts: Counts) -> dict[str, object]:
    interval = counts.interval
    return {
        "normal": counts.normal,
        "blast": counts.blast,
        "uncertain": counts.uncertain,
        "not_judged": counts.not_judged,
        "blast_fraction": counts.fraction,
        "blast_interval": interval and interval.model_dump(),
    }


def _corrected(corrected: CorrectedCounts) -> dict[str, object]:
    return {**_counts(corrected.counts), "apart": dict(corrected.apart), "disputed": corrected.disputed}


def _some(names: list[str]) -> str:
    """Cells as the page calls them: by their number on the slide."""
    return ", ".join(name.rpartition("-")[2] for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
