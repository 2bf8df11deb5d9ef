"""Reviewed cells out of the stores for a training: of many slides as a folder, of one as a zip; and what came of it."""

import csv
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from collector.picture_rows import picture
from collector.queries import reading
from common.errors import UsageError
from common.words import counted
from dashboard.records import SlideKey, SlideRecord, slide_record
from dashboard.reviews.likeness import StoredPicture
from dashboard.reviews.store import ReviewStore
from dashboard.reviews.training_export import ExportSummary, Pictures, Reviewed, export_training

MOST_ROWS = 100_000
"""Of a file that names patients."""
WHY = {
    "not_reviewed": "not reviewed",
    "not_signed": "in a reading that is not signed (--unsigned takes them)",
    "disputed": "disputed, and not settled",
    "no_class": "unsure, or of a class that is not trained (--other takes a class as `other`)",
    "no_picture": "without a picture that was fetched and can be read",
}
"""Why cells are left out, in words."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which slides, and which of their cells.

    Attributes:
        slides: pseudonyms; empty: every one.
        site: only of this laboratory; "": of every one.
        device: only of this microscope; "": of every one.
        since: first day of a slide's first frame, UTC.
        until: the last such day.
        patients: by pseudonym of the slide.
        other: classes that are written as `other`.
        signed_only: leave out what nobody has signed.
    """

    slides: frozenset[str] = frozenset()
    site: str = ""
    device: str = ""
    since: date | None = None
    until: date | None = None
    patients: Mapping[str, str] | None = None
    other: tuple[str, ...] = ()
    signed_only: bool = True

    def names(self, key: SlideKey) -> bool:
        """Whether a slide may be one of these by its name."""
        named = not self.slides or key.slide_id in self.slides
        return named and self.site in {"", key.site} and self.device in {"", key.device}

    def holds(self, record: SlideRecord) -> bool:
        """Whether it is one by its day as well."""
        if not (self.since or self.until):
            return True
        if record.first_at is None:
            return False
        day = record.first_at.date()
        return (not self.since or day >= self.since) and (not self.until or day <= self.until)


def export_reviewed(database: str, reviews: ReviewStore, choice: Choice, out: Path) -> list[str]:
    """Write the reviewed cells of many slides into a folder, while the page may run.

    Args:
        database: the collector's.
        reviews: what people have said.
        choice: which slides and cells.
        out: a folder that does not exist, or is empty.

    Returns:
        What came of it, in words.

    Raises:
        UsageError: a slide that is named was not reviewed, nothing is left to write, or the folder can not be used.
        StoreError: a database can not be read.
    """
    every = [slide.key for slide in reviews.reviewed_slides()]
    if absent := choice.slides - {key.slide_id for key in every if choice.names(key)}:
        raise UsageError(
            f"nobody has reviewed {', '.join(sorted(absent))}{' there' if choice.site or choice.device else ''}; the "
            "page's list of slides has their names"
        )
    keys = [key for key in every if choice.names(key)]
    named = choice.patients or {}
    patients = {key: named[key.slide_id] for key in keys if key.slide_id in named}
    seen = list[SlideKey]()

    def slides(connection: sa.Connection) -> Iterator[Reviewed]:
        for key in keys:
            record = slide_record(connection, key)
            if record is not None and choice.holds(record):
                seen.append(key)
                yield Reviewed(record, reviews.log(key))

    with reading(database) as connection:
        found = export_training(
            slides(connection),
            out,
            _of_devices(connection),
            patients=patients,
            other=choice.other,
            signed_only=choice.signed_only,
        )
    return [*told(found, out, len(seen)), *_told_of_patients(choice, seen)]


def told(found: ExportSummary, out: Path, slides: int) -> list[str]:
    """What was exported, what was not, and what comes next."""
    kinds = ", ".join(f"{found.written[kind]} {kind}" for kind in sorted(found.written))
    scale = found.um_per_pixel or 0.0
    of_whom = f"{counted(slides, 'slide')} and {counted(found.patients, 'patient')}"
    cells = counted(sum(found.written.values()), "cell")
    lines = [f"{cells} of {of_whom} in {out}: {kinds}; {scale:g} micrometres per pixel"]
    lines += [f"left out: {count} {WHY[why]}" for why, count in sorted(found.left_out.items()) if count]
    return [*lines, f"next: train-classifier --data {out} --layout folders --um-per-pixel {scale:g} --out RUN"]


def _told_of_patients(choice: Choice, seen: Collection[SlideKey]) -> list[str]:
    if choice.patients is None:
        return []
    names = {key.slide_id for key in seen}
    lines = []
    if own := sorted(names - choice.patients.keys()):
        lines.append(f"not in --patients, so each a patient of its own: {', '.join(own)}")
    if idle := len(choice.patients.keys() - names):
        lines.append(f"of the slides in --patients {idle} are not among those exported")
    return lines


def read_patients(path: Path) -> dict[str, str]:
    """The patient of each slide, from a CSV with the columns `slide` and `patient`, which commas or semicolons part.

    Raises:
        UsageError: it can not be read, lacks a column, or gives a slide no patient or two.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is no UTF-8"
        raise UsageError(f"--patients {path} can not be read ({why}); name a CSV with columns slide,patient") from cause
    first = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in first else ",")
    if not {"slide", "patient"} <= set(rows.fieldnames or ()):
        raise UsageError(f"--patients {path}: its first line names no columns slide and patient; write slide,patient")
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        slide, patient = (row["slide"] or "").strip(), (row["patient"] or "").strip()
        if number > MOST_ROWS:
            raise UsageError(f"--patients {path} has more than {MOST_ROWS} lines; keep those of reviewed slides")
        if not slide or not patient:
            raise UsageError(f"--patients {path}, line {number}: slide or patient is empty; fill it in")
        if found.setdefault(slide, patient) != patient:
            raise UsageError(f"--patients {path}, line {number}: {slide} has two patients; keep one of the lines")
    return found


def zipped(connection: sa.Connection, slide: Reviewed, scratch: Path) -> IO[bytes]:
    """The signed cells of one slide as a zip, in a file that nobody else sees and that goes when it is closed.

    Args:
        connection: to the collector's store.
        slide: as the person who asks may see it.
        scratch: a folder for what is made on the way.

    Raises:
        NothingLeftError: there is no such cell.
        UsageError: there is no room.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".training-") as folder:
        out = Path(folder) / "cells"
        export_training([slide], out, _of_devices(connection, slide.record.key.device))
        packed = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - whoever asked closes it
        try:
            with zipfile.ZipFile(packed, "w") as made:  # PNG gains nothing by another compression
                for path in sorted(out.rglob("*")):
                    if path.is_file():
                        made.write(path, path.relative_to(out).as_posix())
            packed.seek(0)
        except OSError as cause:
            packed.close()
            raise UsageError(f"{scratch} has no room for the zip ({cause.strerror}); free some") from cause
        except BaseException:
            packed.close()
            raise
    return packed


def _of_devices(connection: sa.Connection, device: str | None = None) -> Pictures:
    def look(cell_id: str) -> StoredPicture | None:
        found = picture(connection, cell_id, device=device)
        return StoredPicture(found.data, found.um_per_pixel) if found else None

    return look
