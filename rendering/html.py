"""Pieces of a report for people: one HTML file that needs nothing beside it.

No script, no font, no picture is loaded from anywhere; the page's own policy forbids it. Every function is pure and
returns markup, made by a template of ``rendering/templates``; text that it is given is escaped, so that a file name can
not become markup. Plots are in ``rendering.plots``.
"""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from common.errors import CheckError
from contract.types import Image

_TEMPLATES = Environment(
    loader=PackageLoader("rendering"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what is to be said of it.

    Attributes:
        image: (height, width, 3) uint8, blue-green-red.
        lines: the caption, line by line.
        alt: the picture in words, for who can not see it.
    """

    image: Image
    lines: Sequence[str]
    alt: str


def fill(template: str, **values: object) -> Markup:
    """A template with values in it; those that are no markup are escaped."""
    return Markup(_TEMPLATES.get_template(f"{template}.html.jinja").render(values))  # noqa: S704 - it escapes


def page(title: str, *parts: Markup, lead: str = "", foot: str = "") -> str:
    """A whole page.

    Args:
        title: heading and window title, plain text.
        parts: markup, from the functions of this module and of ``rendering.plots``.
        lead: one sentence below the heading, plain text.
        foot: last line of the page, plain text.
    """
    return fill("page", title=title, parts=parts, lead=lead, foot=foot)


def section(heading: str, *parts: Markup) -> Markup:
    """A heading, plain text, with markup below it."""
    return fill("section", heading=heading, parts=parts)


def paragraph(text: str) -> Markup:
    """A paragraph of plain text."""
    return Markup("<p>{}</p>").format(text)


def verdict(text: str, *, passed: bool, but: str = "") -> Markup:
    """The one thing to know: a word and a sign say it, the colour only repeats it.

    Args:
        text: what passed, or why not.
        passed: whether it did.
        but: what it does not show though it passed.
    """
    kind, sign = ("passed", "\u2713 Passed") if passed else ("failed", "\u2717 Not passed")
    return fill("verdict", kind="doubtful" if but else kind, sign=sign, text=text, but=but)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> Markup:
    """A table; the first column names the rows. Numbers stand to the right, a column with equal decimals.

    Args:
        head: heading of each column.
        rows: text, numbers or None (shown as n/a), one row after the other.
        caption: what the table shows, plain text.
    """
    lines = [list(row) for row in rows]
    places = [_decimals(column) for column in zip(*lines, strict=True)]
    return fill("table", head=head, rows=[_row(line, places) for line in lines], caption=caption)


def plots(*figures: Markup) -> Markup:
    """Figures side by side where there is room."""
    return fill("plots", figures=figures)


def picture_grid(pictures: Iterable[Picture]) -> Markup:
    """Pictures in a grid, each with its caption, stored in the page itself."""
    shown = [{"alt": picture.alt, "lines": picture.lines, "png": _png(picture.image)} for picture in pictures]
    return fill("picture_grid", pictures=shown)


def number(value: object, decimals: int | None = None) -> str:
    """A value for readers: four figures of a fraction or so many decimals, n/a for None, thousands parted."""
    if value is None or value != value:  # noqa: PLR0124 - only a NaN differs from itself
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    form = ".4g" if decimals is None else f".{decimals}f"
    return format(value, form) if isinstance(value, float) else str(value)


def _decimals(column: Iterable[object]) -> int:
    """How many show four figures of the largest fraction, and five at most."""
    sizes = [abs(value) for value in column if isinstance(value, float) and math.isfinite(value) and value]
    return min(max(3 - math.floor(math.log10(max(sizes))), 0), 5) if sizes else 0


def _row(row: Sequence[object], decimals: Sequence[int]) -> tuple[str, list[tuple[str, bool]]]:
    """The name of a row, and its other values with whether each stands to the right."""
    first, *rest = row
    values = [(number(value, places), _is_number(value)) for value, places in zip(rest, decimals[1:], strict=True)]
    return number(first), values


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _png(image: Image) -> str:
    """A picture as text."""
    done, png = cv2.imencode(".png", image)
    if not done:
        raise CheckError("a picture of the report can not be encoded as PNG; is the memory full?")
    return base64.b64encode(png.tobytes()).decode("ascii")
