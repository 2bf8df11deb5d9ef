"""Cells of a slide, and slides, as CSV that opens right in a spreadsheet and in pandas.

The bytes are UTF-8 with the mark at the beginning by which spreadsheets know it, and which pandas skips. Times are
those of the messages: UTC, milliseconds, Z. A text that a spreadsheet would take for a formula stands behind a quote.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collector.export import write_csv
from contract.messages import Interval
from dashboard.exports.review_summary import ReviewSummary, final_label
from dashboard.exports.slide_facts import corrected
from dashboard.records import Counts, SlideCell, SlideRecord

CELL_COLUMNS = (
    "site", "device", "slide_id", "object_id", "label_model", "label_reviewed", "label_final", "probability",
    "area_um2", "frame_id", "captured_at", "x", "y", "width", "height", "views", "flags", "picture_id",
    "um_per_pixel",
)  # fmt: skip
"""Of the table of cells; `x` to `height` are in pixels of the frame, `picture_id` is the `cell_id` of the best view.
`um_per_pixel` is the scale of that frame."""
SLIDE_COLUMNS = (
    "site", "device", "slide_id", "state", "first_at", "last_at", "frames", "refused", "cells", "normal", "blast",
    "uncertain", "not_judged", "fraction", "interval_low", "interval_high", "interval_level", "corrected_fraction",
    "corrected_low", "corrected_high", "reviewed_cells", "reviewed_normal", "reviewed_blast", "reviewed_uncertain",
    "reviewed_not_judged", "reviewed_apart", "reviewed_fraction", "reviewed_low", "reviewed_high", "kappa", "signed_by",
    "signed_at", "models", "engines", "um_per_pixel", "counts", "read_again",
)  # fmt: skip
"""Of the table of slides: shares are 0 to 1, `corrected` is for the model's known error, `reviewed` after review.
`counts` is how many counts of the agent have cells here, `read_again` how many pictures were read more than once."""
_MARK = "\ufeff"


def cells_csv(record: SlideRecord, review: ReviewSummary | None = None, *, comma: bool = False) -> bytes:
    """The cells of a slide, a row each, in the order in which they were first seen; columns are ``CELL_COLUMNS``.

    Args:
        record: the slide.
        review: what people said of it; None: nothing yet.
        comma: write fractions with a comma and part columns by a semicolon, as spreadsheets of many countries expect.
    """
    return _table(CELL_COLUMNS, ([*record.key, *_cell(cell, review)] for cell in record.cells), comma=comma)


def slides_csv(slides: Iterable[tuple[SlideRecord, ReviewSummary | None]], *, comma: bool = False) -> bytes:
    """Slides, a row each; columns are ``SLIDE_COLUMNS``.

    Args:
        slides: each with what people said of it; None: nothing yet.
        comma: as ``cells_csv`` has it.
    """
    return _table(SLIDE_COLUMNS, (_slide(record, review) for record, review in slides), comma=comma)


def data_hash(record: SlideRecord, review: ReviewSummary | None = None) -> str:
    """SHA-256 of what ``cells_csv`` gives, in hexadecimal: who holds that file can say whether it is the one meant."""
    return hashlib.sha256(cells_csv(record, review)).hexdigest()


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]], *, comma: bool) -> bytes:
    out = io.StringIO(newline="")
    out.write(_MARK)
    if comma:
        write_csv(names, ([_with_comma(value) for value in row] for row in rows), out, delimiter=";")
    else:
        write_csv(names, rows, out)
    return out.getvalue().encode(errors="replace")  # half of a surrogate pair is no text


def _with_comma(value: Any) -> Any:
    return str(value).replace(".", ",") if isinstance(value, float) else value


def _cell(cell: SlideCell, review: ReviewSummary | None) -> list[Any]:
    return [
        cell.object_id,
        cell.label,
        review.labels.get(cell.object_id) if review else None,
        final_label(cell, review),
        _rounded(cell.probability),
        _rounded(cell.area_um2),
        cell.frame_id,
        cell.captured_at,
        *cell.box,
        cell.views,
        cell.flags,
        cell.cell_id,
        cell.um_per_pixel,
    ]


def _slide(record: SlideRecord, review: ReviewSummary | None) -> list[Any]:
    known = corrected(record)
    state = "open" if record.is_open else "closed" if record.summaries else ""
    return [
        *record.key,
        state,
        record.first_at,
        record.last_at,
        record.frames,
        len(record.refused),
        *_counts(record.counts),
        *_interval(record.counts.interval),
        record.counts.interval.level if record.counts.interval else None,
        known.corrected_fraction if known else None,
        *_interval(known.corrected_interval if known else None),
        *_reviewed(review),
        record.models,
        record.engines,
        record.scales[0] if len(record.scales) == 1 else tuple(map(str, record.scales)),
        len(record.standing),
        record.read_again,
    ]


def _reviewed(review: ReviewSummary | None) -> list[Any]:
    """What people said of a slide; nothing where nobody did."""
    if review is None:
        return [None] * (SLIDE_COLUMNS.index("models") - SLIDE_COLUMNS.index("reviewed_cells"))
    counts = review.counts
    cells, normal, blast, uncertain, not_judged, fraction = _counts(counts) if counts else [None] * 6
    return [
        cells,
        normal,
        blast,
        uncertain,
        not_judged,
        _words(review.apart) if counts else None,
        fraction,
        *_interval(counts.interval if counts else None),
        _rounded(review.kappa),
        "; ".join(one.name for one in review.signatures),
        max((one.at for one in review.signatures), default=None),
    ]


def _counts(counts: Counts) -> list[Any]:
    fraction = _rounded(counts.fraction)
    return [counts.cells, counts.normal, counts.blast, counts.uncertain, counts.not_judged, fraction]


def _interval(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _words(apart: Mapping[str, int]) -> str:
    return " ".join(f"{name}={count}" for name, count in apart.items())


def _rounded(value: float | None) -> float | None:
    """Six decimals, as intervals have: more are noise."""
    return None if value is None else round(value, 6)
