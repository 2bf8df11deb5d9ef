"""The report of a slide on one to three pages of A4: a page of HTML that needs no other file, and no script.

Everything that others have named is escaped, and control characters are shown as such. The page's own policy forbids
all that it does not hold, unless a server gives it one: see ``Style``.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from common.terminal import printable
from contract.labels import LABELS
from contract.messages import Interval
from dashboard.exports.review_summary import ReviewSummary, verdicts_of
from dashboard.exports.slide_facts import (
    corrected,
    counted_words,
    judges,
    most_suspicious,
    refused_by,
    scale_words,
    share_words,
)
from dashboard.exports.tables import data_hash
from dashboard.records import Counts, SlideCell, SlideRecord
from dashboard.texts import Texts
from rendering.plots import histogram_svg

SHOWN = 12
"""Cells in the gallery: two rows of six."""
BINS = 20
_STYLE = Path(__file__).parents[1] / "static" / "printed.css"
_MEDIA = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
FetchPicture = Callable[[str], bytes | None]
"""From a cell's ``cell_id`` to its picture: PNG, JPEG or WebP; None where none is stored."""


@dataclass(frozen=True, slots=True)
class Style:
    """How the page gets its style.

    By default the page holds it, and its own policy names it by its hash. A server whose policy is stricter than that
    gives a nonce, or the address of the stylesheet; the page has no policy of its own then.

    Attributes:
        nonce: of the server's policy.
        href: where the server has the ``stylesheet`` of the language.
        script: where the server has the script that prints; empty: the page has no button.
        back: the address of the slide's page; empty: there is no link to it.
    """

    nonce: str = ""
    href: str = ""
    script: str = ""
    back: str = ""


def printed_report(
    record: SlideRecord,
    *,
    texts: Texts,
    at: datetime,
    review: ReviewSummary | None = None,
    picture: FetchPicture | None = None,
    style: Style | None = None,
) -> str:
    """A slide's report as a page of HTML.

    Args:
        record: the slide.
        texts: of the language.
        at: when it is printed, aware.
        review: what people said of the slide; None: nobody has reviewed it.
        picture: where the pictures of cells come from; None: there are none.
        style: how the page gets its style.
    """
    shown, verdicts = most_suspicious(record, SHOWN), verdicts_of(review)
    return (
        _templates()
        .get_template("printed.html.jinja")
        .render(
            t=texts.get,
            word=texts.word,
            language=texts.language,
            record=record,
            review=review,
            at=at,
            scale=scale_words(record, texts),
            recounted=counted_words(record, texts),
            head=_head(style or Style(), texts),
            style=style or Style(),
            counted=_counted(record.counts, review),
            share=partial(_share, texts),
            corrected=corrected(record),
            refused=refused_by(record),
            histogram=_histogram(record.cells, texts),
            cells=[(cell, verdicts.get(cell.object_id), _source(picture, cell)) for cell in shown],
            judges=judges(record),
            data_hash=data_hash(record, review),
        )
    )


def _share(texts: Texts, fraction: float | None, interval: Interval | None) -> Markup:
    """A share with its interval, of which no line begins with the sign of a percentage."""
    return Markup("{}").format(share_words(texts, fraction, interval).replace(" %", "\u00a0%"))


def stylesheet(texts: Texts) -> str:
    """The style of the page, for servers that link it; it says at the foot of every page that it is for research."""
    said = texts.get("page.research").replace("\\", r"\\").replace('"', r"\"")
    return f'{_STYLE.read_text(encoding="utf-8")}@page {{ @bottom-left {{ content: "{said}"; }} }}\n'


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )


def _head(style: Style, texts: Texts) -> Markup:
    """What the page's head says of its style and of what it may load."""
    if style.href:
        return Markup('<link rel="stylesheet" href="{}">').format(style.href)
    css = Markup(stylesheet(texts))  # noqa: S704 - a file of ours
    if style.nonce:
        return Markup('<style nonce="{}">{}</style>').format(style.nonce, css)
    known = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{known}'"
    meta = Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(policy)
    return meta + Markup("<style>{}</style>").format(css)


def _counted(model: Counts, review: ReviewSummary | None) -> Sequence[tuple[str, int, int | None]]:
    """Each label with how many cells the model calls so, and how many people do; None where that is not known."""
    people = review.counts if review else None
    return [(label, getattr(model, label), getattr(people, label) if people else None) for label in LABELS]


def _histogram(cells: Sequence[SlideCell], texts: Texts) -> Markup:
    """How probable a blast is said to be, for cells of each label; nothing where no cell was judged."""
    said: Mapping[str, list[float]] = {
        texts.get(f"label.{label}"): [c.probability for c in cells if c.label == label and c.probability is not None]
        for label in LABELS
    }
    some = {name: values for name, values in said.items() if values}
    if not some:
        return Markup()
    title, across, up = (texts.get(f"printed.histogram_{part}") for part in ("title", "across", "up"))
    decimal = texts.get("format.decimal")
    return histogram_svg(some, title=title, x_label=across, y_label=up, ends=(0.0, 1.0), bins=BINS, decimal=decimal)


def _source(picture: FetchPicture | None, cell: SlideCell) -> Markup | None:
    """A cell's picture in the form of an address; None where there is none that a page can show."""
    data = picture(cell.cell_id) if picture else None
    media = next((media for mark, media in _MEDIA.items() if data and data.startswith(mark)), None)
    return Markup("data:{};base64,{}").format(media, base64.b64encode(data).decode()) if data and media else None
