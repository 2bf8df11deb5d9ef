"""Plots as inline SVG: drawn here, so that a report needs no plotting library and no script.

Colours are those of Okabe and Ito (2008), which people who are blind to red, green or blue can tell apart; each series
has a shape of its own as well. Every plot has a title and a description in words. Functions are pure and return a
``<figure>`` for ``rendering.html.page``; values that are not finite are left out, and the legend says how many.
"""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from rendering.html import fill

Numbers = NDArray[np.float64]
WIDTH, HEIGHT = 560, 400
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 34, 52
TEXT = '<text fill="#1b1f24" font-size="13" font-family="DejaVu Sans, sans-serif" '
"""How text begins: as a page's style has it, for readers who do not bring that into a drawing."""
DASHED = Markup('stroke="#57606a" stroke-dasharray="5 4"')
DASHES = Markup(""), Markup(' stroke-dasharray="6 3"'), Markup(' stroke-dasharray="2 3"')
NOTHING = Markup("")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000")
SHAPES = (
    "m-2.6 0a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0",
    "m0-3.6l3.6 3.6-3.6 3.6-3.6-3.6z",
    "m0-3.4l3.2 5.8h-6.4z",
    "m-2.4-2.4h4.8v4.8h-4.8z",
    "m-3.2-.9h2.3v-2.3h1.8v2.3h2.3v1.8h-2.3v2.3h-1.8v-2.3h-2.3z",
)


CROWD = 100
"""Points from which on those below others shine through."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points under one name; ``x`` and ``y`` have the same length."""

    name: str
    x: ArrayLike = field(repr=False)
    y: ArrayLike = field(repr=False)

    def finite(self) -> tuple[Numbers, Numbers, int]:
        """The points that can be drawn, and how many can not."""
        x, y = np.asarray(self.x, np.float64), np.asarray(self.y, np.float64)
        good = np.isfinite(x) & np.isfinite(y)
        return x[good], y[good], int((~good).sum())


@dataclass(frozen=True, slots=True)
class Axis:
    """From numbers to places on the paper."""

    label: str
    low: float
    high: float
    start: float
    end: float
    decimal: str = "."

    def said(self, value: float) -> str:
        """A value as the axis has it, with the decimal mark of its language."""
        return f"{value:g}".replace(".", self.decimal)

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values along the axis: steps of 1, 2 or 5 times a power of ten."""
        raw = (self.high - self.low) / 7
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Key:
    """A line of the legend: shape and colour of a series; ``left_out`` of its points can not be drawn."""

    shape: str
    colour: str
    name: str
    left_out: int


def scatter_svg(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    describe: str = "",
    diagonal: bool = False,
    x_marks: Mapping[str, float] | None = None,
    y_marks: Mapping[str, float] | None = None,
) -> Markup:
    """Points of up to five series.

    Args:
        series: what to draw, the first below the others.
        title: of the plot.
        x_label: quantity and unit.
        y_label: quantity and unit.
        describe: the plot in words, shown as its caption.
        diagonal: draw x = y, and give both axes the same range.
        x_marks: upright dashed lines by name, for example a threshold.
        y_marks: level dashed lines by name.
    """
    xs, ys = [s.finite()[0] for s in series], [s.finite()[1] for s in series]
    x_range, y_range = span([*xs, [*(x_marks or {}).values()]]), span([*ys, [*(y_marks or {}).values()]])
    if diagonal:
        x_range = y_range = (min(x_range[0], y_range[0]), max(x_range[1], y_range[1]))
    across, up = _across(x_label, *x_range), _up(y_label, *y_range)
    parts = [_grid(across, up), _diagonal(across, up) if diagonal else NOTHING]
    parts += [_marks(across, up, x_marks or {}, y_marks or {})]
    for k, one in enumerate(series):
        x, y, _ = one.finite()
        parts.append(_points(across, up, x, y, k))
    return _figure(title, describe, parts, [_key(k, one.name, one.finite()[2]) for k, one in enumerate(series)])


def reliability_svg(series: Sequence[Series], *, title: str, describe: str = "") -> Markup:
    """Share of blasts against the probability that was said; a well calibrated model lies on the diagonal.

    Args:
        series: by engine, from ``reliability``.
        title: of the plot.
        describe: the plot in words.
    """
    across = _across("probability that was said", 0, 1)
    up = _up("share of blasts", 0, 1)
    parts = [_grid(across, up), _diagonal(across, up)]
    for k, one in enumerate(series):
        x, y, _ = one.finite()
        parts += [_line(across, up, x, y, k), _points(across, up, x, y, k)]
    return _figure(title, describe, parts, [_key(k, one.name, one.finite()[2]) for k, one in enumerate(series)])


def reliability(name: str, labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> Series:
    """Mean probability and share of blasts in equal bins of probability (DeGroot and Fienberg 1983).

    Args:
        name: of the engine.
        labels: (N,) 1 for a blast, else 0.
        probabilities: (N,) of a blast, in 0 to 1.
        bins: how many; those without a cell are left out.
    """
    truth, said = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    place = np.minimum((said * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    some = count > 0
    means = [np.bincount(place, values, minlength=bins)[some] / count[some] for values in (said, truth)]
    return Series(name, *means)


def histogram_svg(
    values: Mapping[str, ArrayLike],
    *,
    title: str,
    x_label: str,
    y_label: str = "cells",
    describe: str = "",
    ends: tuple[float, float] | None = None,
    bins: int = 40,
    decimal: str = ".",
) -> Markup:
    """How often values occur: an outline for each name, over bins that all share.

    Args:
        values: by name.
        title: of the plot.
        x_label: quantity and unit.
        y_label: what is counted.
        describe: the plot in words, shown as its caption.
        ends: of the axis; None: by the values.
        bins: how many.
        decimal: mark of the numbers at the axes.
    """
    raw = {name: np.asarray(v, np.float64).ravel() for name, v in values.items()}
    clean = {name: v[np.isfinite(v)] for name, v in raw.items()}
    edges = np.linspace(*(ends or span(clean.values())), bins + 1)
    counts = {name: np.histogram(v, edges)[0] for name, v in clean.items()}
    across = replace(_across(x_label, float(edges[0]), float(edges[-1])), decimal=decimal)
    up = replace(_up(y_label, 0, 1.05 * max([1, *(int(c.max()) for c in counts.values())])), decimal=decimal)
    parts = [_grid(across, up)]
    for k, count in enumerate(counts.values()):
        outline = np.concatenate([[0], np.repeat(count, 2), [0]])
        parts.append(_line(across, up, np.repeat(edges, 2), outline, k, filled=True))
    keys = [_key(k, name, len(raw[name]) - len(clean[name])) for k, name in enumerate(clean)]
    return _figure(title, describe, parts, keys)


def bars_svg(values: Mapping[str, float], *, title: str, x_label: str, describe: str = "") -> Markup:
    """One level bar for each name, its value beside it."""
    across = _across(x_label, 0, 1.18 * max([*values.values(), 1e-9]), left=150)
    up = Axis("", 0, len(values), TOP, TOP + 34 * len(values))
    parts = [_x_axis(across, up)]
    bar = Markup(
        '<path d="M{start} {top:.1f}H{end:.1f}v18H{start}z" fill="{colour}"/>'
        '<text x="{left}" y="{line:.1f}" text-anchor="end">{name}</text>'
        '<text x="{right:.1f}" y="{line:.1f}">{value:.3g}</text>'
    )
    for k, (name, value) in enumerate(values.items()):
        middle, end = up.at(k + 0.5), across.at(value)
        place = {"start": across.start, "left": across.start - 8, "end": end, "right": end + 6}
        parts.append(bar.format(top=middle - 9, line=middle + 4, colour=_colour(k), name=name, value=value, **place))
    return _figure(title, describe, parts, [], height=TOP + 34 * len(values) + BOTTOM)


def span(groups: Iterable[ArrayLike], margin: float = 0.04) -> tuple[float, float]:
    """Least and greatest value of all groups, with a margin; never of no width."""
    values = np.concatenate([np.zeros(0), *(np.asarray(g, np.float64).ravel() for g in groups)])
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = margin * (high - low) or max(abs(low), 1.0) * 0.5
    return low - room, high + room


def _across(label: str, low: float, high: float, left: int = LEFT) -> Axis:
    return Axis(label, low, high, left, WIDTH - RIGHT)


def _up(label: str, low: float, high: float) -> Axis:
    return Axis(label, low, high, HEIGHT - BOTTOM, TOP)


def _grid(across: Axis, up: Axis) -> Markup:
    line = Markup(
        '<path d="M{start} {y:.1f}H{end}" stroke="#e4e8ec"/>'
        '<text x="{left}" y="{below:.1f}" text-anchor="end">{value}</text>'
    )
    ends = {"start": across.start, "end": across.end, "left": across.start - 7}
    lines = [line.format(y=up.at(value), below=up.at(value) + 4, value=up.said(value), **ends) for value in up.ticks()]
    name = Markup('<text transform="translate(16 {:.1f})rotate(-90)" text-anchor="middle">{}</text>')
    edge = Markup('<path d="M{} {}V{}" stroke="#57606a"/>').format(across.start, up.end, up.start)
    return NOTHING.join([_x_axis(across, up), *lines, name.format((up.start + up.end) / 2, up.label), edge])


def _x_axis(across: Axis, up: Axis) -> Markup:
    bottom, top = max(up.start, up.end), min(up.start, up.end)
    line = Markup(
        '<path d="M{x:.1f} {top}V{bottom}" stroke="#e4e8ec"/>'
        '<text x="{x:.1f}" y="{below}" text-anchor="middle">{value}</text>'
    )
    lines = [
        line.format(x=across.at(value), top=top, bottom=bottom, below=bottom + 18, value=across.said(value))
        for value in across.ticks()
    ]
    edge = Markup('<path d="M{} {}H{}" stroke="#57606a"/>').format(across.start, bottom, across.end)
    name = Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>')
    return NOTHING.join([*lines, edge, name.format((across.start + across.end) / 2, bottom + 40, across.label)])


def _diagonal(across: Axis, up: Axis) -> Markup:
    low, high = max(across.low, up.low), min(across.high, up.high)
    line = Markup('<path d="M{:.1f} {:.1f}L{:.1f} {:.1f}" stroke="#8c959f" stroke-width="1.2"/>')
    return line.format(across.at(low), up.at(low), across.at(high), up.at(high))


def _marks(across: Axis, up: Axis, x_marks: Mapping[str, float], y_marks: Mapping[str, float]) -> Markup:
    return NOTHING.join(
        [_upright(name, across.at(v), across, up) for name, v in x_marks.items()]
        + [_level(name, up.at(v), across, up) for name, v in y_marks.items()]
    )


def _upright(name: str, x: float, across: Axis, up: Axis) -> Markup:
    """An upright dashed line, its name at the end where points along a diagonal are not."""
    right = x > (across.start + across.end) / 2
    place = (x - 5, up.start - 8, "end") if right else (x + 5, up.end + 14, "start")
    return Markup('<path d="M{:.1f} {}V{}" {}/>').format(x, up.start, up.end, DASHED) + _name(name, *place)


def _level(name: str, y: float, across: Axis, up: Axis) -> Markup:
    """A level dashed line, its name at the end where points along a diagonal are not."""
    high = y < (up.start + up.end) / 2
    place = (across.start + 4, y + 15, "start") if high else (across.end - 4, y - 5, "end")
    return Markup('<path d="M{} {:.1f}H{}" {}/>').format(across.start, y, across.end, DASHED) + _name(name, *place)


def _name(text: str, x: float, y: float, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _points(across: Axis, up: Axis, x: Numbers, y: Numbers, k: int) -> Markup:
    shape = SHAPES[k % len(SHAPES)]
    path = "".join(f"M{across.at(a):.1f} {up.at(b):.1f}{shape}" for a, b in zip(x, y, strict=True))
    opacity = 0.55 if len(x) > CROWD else 0.9
    return Markup('<path d="{}" fill="{}" fill-opacity="{}"/>').format(path, _colour(k), opacity)


def _line(across: Axis, up: Axis, x: Numbers, y: Numbers, k: int, *, filled: bool = False) -> Markup:
    if not len(x):
        return NOTHING
    path = "M" + "L".join(f"{across.at(a):.1f} {up.at(b):.1f}" for a, b in zip(x, y, strict=True))
    inside = Markup('fill="{}" fill-opacity=".12"').format(_colour(k)) if filled else Markup('fill="none"')
    line = Markup('<path d="{}" {} stroke="{}" stroke-width="1.8"{}/>')
    return line.format(path, inside, _colour(k), DASHES[k % len(DASHES)])


def _key(k: int, name: str, left_out: int) -> Key:
    return Key(SHAPES[k % len(SHAPES)], _colour(k), name, left_out)


def _figure(title: str, describe: str, parts: Sequence[Markup], keys: Sequence[Key], height: int = HEIGHT) -> Markup:
    number = zlib.crc32("".join([title, describe, *parts]).encode())
    return fill(
        "plot",
        id=f"{number:08x}",
        title=title,
        describe=describe,
        parts=Markup(str(NOTHING.join(parts)).replace("<text ", TEXT)),  # noqa: S704 - it is made of markup
        keys=keys,
        width=WIDTH,
        height=height,
        left=LEFT,
    )


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]
