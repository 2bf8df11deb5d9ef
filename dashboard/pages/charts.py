"""The curves of a slide as SVG, which the page's policy lets through: no script draws them, and they print."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dashboard.records import SlideCell
from dashboard.texts import Texts

WIDTH, HEIGHT, LEFT, RIGHT, BELOW, ABOVE = 360, 150, 44, 16, 30, 10
"""Of a chart in its own units; room for the marks of its axes."""
BINS = 20
POINTS = 200
"""Most points of a curve."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Where a value lies: ``low`` at ``start``, ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The place of a value."""
        span = self.high - self.low or 1.0
        return round(self.start + (value - self.low) / span * (self.end - self.start), 1)


def histogram(cells: Sequence[SlideCell], texts: Texts) -> Markup:
    """How many cells have which probability of a blast, by what they are called."""
    found = [(cell.probability, cell.label) for cell in cells if cell.probability is not None]
    bins: list[dict[str, int]] = [{} for _ in range(BINS)]
    for probability, label in found:
        bin_of = bins[min(int(probability * BINS), BINS - 1)]
        bin_of[label] = bin_of.get(label, 0) + 1
    most = max((sum(one.values()) for one in bins), default=0)
    x, y = Axis(0, 1, LEFT, WIDTH - RIGHT), Axis(0, max(most, 1), HEIGHT - BELOW, ABOVE)
    bars = Markup().join(bar for number, one in enumerate(bins) for bar in _bars(number, one, x, y))
    marks = Markup().join(_mark_below(x.at(v), texts.get("format.fraction", value=v)) for v in (0, 0.25, 0.5, 0.75, 1))
    title = texts.get("slide.histogram", count=len(found))
    return _chart(title, bars + marks + _mark_left(y.at(most), str(most)), texts.get("slide.histogram_axis"))


def _bars(number: int, counts: dict[str, int], x: Axis, y: Axis) -> list[Markup]:
    """The bar of one bin: its labels stand on each other."""
    below, drawn = 0, []
    left, right = x.at(number / BINS), x.at((number + 1) / BINS)
    for label in ("normal", "uncertain", "blast"):
        count = counts.get(label, 0)
        if count:
            top, bottom = y.at(below + count), y.at(below)
            form = '<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
            size = round(right - left - 1, 1), round(bottom - top, 1)
            drawn.append(_drawn(form, label, left, top, *size, count))
        below += count
    return drawn


def course(cells: Sequence[SlideCell], texts: Texts) -> Markup:
    """The share of blasts among the cells called normal or blast, as more and more were seen."""
    judged = [cell.label == "blast" for cell in cells if cell.label in {"normal", "blast"}]
    shares, blasts = [], 0
    for number, blast in enumerate(judged, start=1):
        blasts += blast
        shares.append(blasts / number)
    step = max(1, len(shares) // POINTS)
    shown = [
        (number + 1, share) for number, share in enumerate(shares) if number % step == 0 or number == len(shares) - 1
    ]
    x, y = Axis(1, max(len(shares), 2), LEFT, WIDTH - RIGHT), Axis(0, 1, HEIGHT - BELOW, ABOVE)
    line = " ".join(f"{x.at(number)},{y.at(share)}" for number, share in shown)
    drawn = Markup('<polyline class="line" points="{}"/>').format(line) if shown else Markup()
    marks = Markup().join(_mark_left(y.at(v), texts.get("format.percent_round", share=100 * v)) for v in (0, 0.5, 1))
    ends = _mark_below(x.at(1), "1") + _mark_below(x.at(max(len(shares), 2)), str(max(len(shares), 2)))
    return _chart(texts.get("slide.course"), drawn + marks + ends, texts.get("slide.course_axis"))


def _chart(title: str, inside: Markup, axis: str) -> Markup:
    ground = HEIGHT - BELOW
    frame = Markup('<line class="axis" x1="{0}" y1="{1}" x2="{2}" y2="{1}"/>').format(LEFT, ground, WIDTH - RIGHT)
    name = Markup('<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>').format(
        (LEFT + WIDTH) / 2, HEIGHT - 3, axis
    )
    form = '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>'
    return _drawn(form, WIDTH, HEIGHT, title, frame, inside, name)


def _mark_below(x: float, text: str) -> Markup:
    form = '<text class="mark" x="{}" y="{}" text-anchor="middle">{}</text>'
    return _drawn(form, x, HEIGHT - BELOW + 12, text)


def _mark_left(y: float, text: str) -> Markup:
    return Markup('<text class="mark" x="{}" y="{}" text-anchor="end">{}</text>').format(LEFT - 3, y + 3, text)


def _drawn(form: str, *values: object) -> Markup:
    """Markup of our own with values in it, which are escaped."""
    return Markup(form).format(*values)  # noqa: S704 - no form comes from outside
