"""Pieces of a report for people: one HTML file that needs nothing beside it.

No script, no font, no picture is loaded from anywhere; the page's own policy forbids it. Every function is pure and
returns markup; text that it is given is escaped, so that a file name can not become markup. Plots are in
``export.plots``.
"""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import cv2

from common.errors import CheckError
from contract.types import Image

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { --ink: #1b1f24; --quiet: #57606a; --line: #d0d7de; --band: #f6f8fa; --good: #00664d; --bad: #a33b00;
  --doubt: #7a5200; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: #fff; color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 48rem; }
.lead, figcaption, caption, .legend, footer { color: var(--quiet); }
.verdict { display: inline-block; margin: .75rem 0; padding: .5rem .9rem; border: 2px solid; border-radius: .4rem;
  font-weight: 600; max-width: 100%; }
.passed { color: var(--good); background: #effaf6; } .failed { color: var(--bad); background: #fff5ef; }
.doubtful { color: var(--doubt); background: #fff9e8; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; font-size: .93rem; }
caption { text-align: left; padding-bottom: .35rem; font-size: .9rem; max-width: 90vw; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { background: var(--band); white-space: nowrap; } tbody th { font-weight: 500; white-space: nowrap; }
td.number { text-align: right; white-space: nowrap; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem; }
figure { margin: .75rem 0; break-inside: avoid; }
figure > svg { width: 100%; height: auto; max-width: 40rem; display: block; }
figcaption, .legend { font-size: .88rem; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .2rem 0; padding: 0; }
.legend svg { width: .9em; height: .9em; vertical-align: -.08em; margin-right: .35em; }
svg text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: var(--ink); }
svg .name { font-size: 14px; font-weight: 600; }
.cells { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1rem; padding: 0; }
.cells figure { margin: 0; border: 1px solid var(--line); border-radius: .4rem; padding: .5rem; }
.cells img { width: 100%; image-rendering: pixelated; border-radius: .2rem; display: block; }
.cells figcaption { margin-top: .4rem; font-size: .8rem; line-height: 1.35; overflow-wrap: anywhere; }
footer { margin-top: 3rem; font-size: .85rem; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2 { break-after: avoid; }
  tr, .cells figure, .verdict { break-inside: avoid; } * { print-color-adjust: exact; } .wide { overflow: visible; } }
"""


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


def page(title: str, *parts: str, lead: str = "", foot: str = "") -> str:
    """A whole page.

    Args:
        title: heading and window title, plain text.
        parts: markup, from the functions of this module and of ``export.plots``.
        lead: one sentence below the heading, plain text.
        foot: last line of the page, plain text.
    """
    name = escape(title)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>",
            f'<p class="lead">{escape(lead)}</p>' if lead else "",
            *parts,
            "</main>",
            f"<footer>{escape(foot)}</footer>" if foot else "",
            "</body>\n</html>\n",
        ]
    )


def section(heading: str, *parts: str) -> str:
    """A heading, plain text, with markup below it."""
    return "\n".join([f"<section>\n<h2>{escape(heading)}</h2>", *parts, "</section>"])


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def verdict(text: str, *, passed: bool, but: str = "") -> str:
    """The one thing to know: a word and a sign say it, the colour only repeats it.

    Args:
        text: what passed, or why not.
        passed: whether it did.
        but: what it does not show though it passed.
    """
    kind, sign = ("passed", "\u2713 Passed") if passed else ("failed", "\u2717 Not passed")
    doubt = f"<br>! But {escape(but)}" if but else ""
    return f'<p class="verdict {"doubtful" if but else kind}">{sign}: {escape(text)}{doubt}</p>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """A table; the first column names the rows. Numbers stand to the right, a column with equal decimals.

    Args:
        head: heading of each column.
        rows: text, numbers or None (shown as n/a), one row after the other.
        caption: what the table shows, plain text.
    """
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = [list(row) for row in rows]
    places = [_decimals(column) for column in zip(*lines, strict=True)]
    body = "\n".join(_row(line, places) for line in lines)
    return f'<div class="wide"><table>{above}\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def plots(*figures: str) -> str:
    """Figures side by side where there is room."""
    return '<div class="plots">\n' + "\n".join(figures) + "\n</div>"


def gallery(pictures: Iterable[Picture]) -> str:
    """Pictures in a grid, each with its caption, stored in the page itself."""
    return '<div class="cells">\n' + "\n".join(_picture(p) for p in pictures) + "\n</div>"


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


def _row(row: Sequence[object], decimals: Sequence[int]) -> str:
    first, *rest = row
    cells = "".join(
        f"<td{_numeric(value)}>{escape(number(value, places))}</td>"
        for value, places in zip(rest, decimals[1:], strict=True)
    )
    return f'<tr><th scope="row">{escape(number(first))}</th>{cells}</tr>'


def _numeric(value: object) -> str:
    return ' class="number"' if value is None or isinstance(value, int | float) else ""


def _picture(picture: Picture) -> str:
    done, png = cv2.imencode(".png", picture.image)
    if not done:
        raise CheckError("a picture of the report can not be encoded as PNG; is the memory full?")
    data = base64.b64encode(png.tobytes()).decode("ascii")
    text = "<br>".join(escape(line) for line in picture.lines)
    return (
        f'<figure><img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
