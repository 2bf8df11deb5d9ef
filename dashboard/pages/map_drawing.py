"""A slide's map as SVG, which the page's policy lets through: form tells what a cell is called, colour how probable.

Every dot and square leads to a cell of the gallery. They are no stops of the keyboard: the gallery has every cell.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from contract.labels import Label
from dashboard.pages.map_layout import GAP, WIDTH, Panel, Sheet
from dashboard.places import Footprint
from dashboard.records import SlideCell
from dashboard.texts import Texts
from rendering.legend import bar_um

MOST_BINS = 900
"""Squares that sum up cells."""
SIDE, GROWTH = 12.0, 1.25
"""Side of a square, and by how much it grows until there are few enough of them."""
DOUBTFUL = 1 / 3
"""Share of uncertain cells from which a square has a broken line."""
MOST_MARKS = 60
"""Marks of frames that were not judged."""
STEPS = 5
"""Colours of a probability."""
BAR_SHARE = 0.2
"""Share of the map's width that its scale bar has at most."""
_BAR_ROW, _MARK_ROW, _MARK = 34.0, 26.0, 12.0
_UM_PER_MM = 1000
_ORDER: dict[Label, int] = {"not_judged": 0, "normal": 1, "uncertain": 2, "blast": 3}
"""What is drawn later lies above."""


class Spot(NamedTuple):
    """A cell with its place.

    Attributes:
        cell: as the model calls it.
        part: of the slide.
        x: micrometres of the part.
        y: the same.
        verdict: what people call it; empty where they have said nothing, or it is not to be seen.
    """

    cell: SlideCell
    part: int
    x: float
    y: float
    verdict: str = ""

    @property
    def is_corrected(self) -> bool:
        """Whether people call the cell something else than the model."""
        return self.verdict not in {"", self.cell.label}


def drawn(
    sheet: Sheet,
    title: str,
    *,
    frames: Sequence[Footprint],
    dots: Sequence[Spot],
    summed: Sequence[Spot],
    refused: int,
    texts: Texts,
) -> Markup:
    """The map.

    Args:
        sheet: where its parts are drawn.
        title: what it is, for who does not see it.
        frames: that are outlined.
        dots: cells that are drawn as dots of their own.
        summed: cells that are summed up in squares.
        refused: how many frames were not judged: they are marked apart.
        texts: of the language.
    """
    faint = " faint" if summed else ""
    ground = Markup().join(_ground(panel, frames, faint) for panel in sheet.panels.values())
    numbers = Markup().join(_number(panel) for panel in sheet.panels.values()) if len(sheet.panels) > 1 else Markup()
    cells = _squares(sheet, summed, texts) + _dots(sheet, dots, texts)
    marks, bar = _marks(sheet.height, refused), _bar(sheet, texts)
    height = ceil(sheet.height + (max(_BAR_ROW, _MARK_ROW if refused else 0)))
    form = '<svg class="map" viewBox="0 0 {} {}" role="group" aria-label="{}">{}{}{}{}{}{}</svg>'
    return _made(form, round(WIDTH), height, title, _shapes(len(dots)), ground, numbers, cells, marks, bar)


def _shapes(dots: int) -> Markup:
    """The form of each label, and of a frame that was not judged; many dots are small."""
    r = 5.5 if dots <= 150 else 4.5 if dots <= 500 else 3.5  # noqa: PLR2004 - as they look well
    wide, half = round(1.4 * r, 1), round(0.8 * r, 1)
    forms = {
        "normal": f'<circle class="solid" r="{r}"/>',
        "blast": f'<path class="solid" d="M0-{wide}L{wide} 0 0 {wide}-{wide} 0z"/>',
        "uncertain": f'<path class="hollow" d="M0-{wide}L{wide} {r}H-{wide}z"/>',
        "not_judged": f'<path class="thin" d="M-{half}-{half}L{half} {half}M-{half} {half}L{half}-{half}"/>',
        "corrected": f'<circle class="ring" r="{round(2 * r, 1)}"/>',
        "refused": f'<path class="thin" d="M0 0h{_MARK}v{_MARK}H0zL{_MARK} {_MARK}M0 {_MARK}L{_MARK} 0"/>',
    }
    made = (_made('<g id="map-{}">{}</g>', name, Markup(form)) for name, form in forms.items())  # noqa: S704 - ours
    return _made("<defs>{}</defs>", Markup().join(made))


def _ground(panel: Panel, frames: Sequence[Footprint], faint: str) -> Markup:
    """What the frames of a part show, in one path."""
    rectangles = dict.fromkeys(
        (*panel.at(one.x, one.y), round(one.width * panel.scale, 1), round(one.height * panel.scale, 1))
        for one in frames
        if one.part == panel.extent.part
    )
    path = "".join(f"M{x:g} {y:g}h{width:g}v{height:g}h-{width:g}z" for x, y, width, height in rectangles)
    return _made('<path class="frames{}" d="{}"/>', faint, path)


def _number(panel: Panel) -> Markup:
    return _made(
        '<text class="part" x="{:g}" y="{:g}">{}</text>', round(panel.x, 1), round(panel.y - 5, 1), panel.extent.part
    )


def _dots(sheet: Sheet, spots: Sequence[Spot], texts: Texts) -> Markup:
    above = sorted(spots, key=lambda spot: (_ORDER[spot.cell.label], spot.cell.probability or 0.0))
    return Markup().join(_dot(sheet.panels[spot.part], spot, texts) for spot in above)


def _dot(panel: Panel, spot: Spot, texts: Texts) -> Markup:
    x, y = panel.at(spot.x, spot.y)
    cell = spot.cell
    said = f"{cell.object_id.rpartition('-')[2]}: {texts.get(f'label.{cell.label}')}"
    if cell.probability is not None:
        said += f" {texts.get('format.fraction', value=cell.probability)}"
    if spot.verdict:
        said += f"; {texts.get('reviewed.verdict', name=texts.word('label', spot.verdict))}"
    ring = _made('<use href="#map-corrected" x="{:g}" y="{:g}"/>', x, y) if spot.is_corrected else Markup()
    form = '<a href="{}" tabindex="-1" class="{}"><title>{}</title><use href="#map-{}" x="{:g}" y="{:g}"/>{}</a>'
    return _made(form, _link(cell), _step(cell.probability), said, cell.label, x, y, ring)


def _squares(sheet: Sheet, spots: Sequence[Spot], texts: Texts) -> Markup:
    """The cells of each place in one square, which leads to the most suspicious of them."""
    side = SIDE
    bins = _bins(sheet, spots, side)
    while len(bins) > MOST_BINS:
        side *= GROWTH
        bins = _bins(sheet, spots, side)
    squares = []
    for (part, i, j), here in bins.items():
        panel = sheet.panels[part]
        corner = round(panel.x + i * side, 1), round(panel.y + j * side, 1)
        squares.append(_square(corner, round(side - 1, 1), here, texts))
    return Markup().join(squares)


def _bins(sheet: Sheet, spots: Sequence[Spot], side: float) -> dict[tuple[int, int, int], list[Spot]]:
    found = defaultdict[tuple[int, int, int], list[Spot]](list)
    for spot in spots:
        panel = sheet.panels[spot.part]
        x, y = panel.at(spot.x, spot.y)
        found[spot.part, int((x - panel.x) // side), int((y - panel.y) // side)].append(spot)
    return found


def _square(corner: tuple[float, float], side: float, spots: Sequence[Spot], texts: Texts) -> Markup:
    counts = Counter(spot.cell.label for spot in spots)
    judged = counts["normal"] + counts["blast"]
    kind = _step(counts["blast"] / judged if judged else None)
    if counts["uncertain"] and counts["uncertain"] >= DOUBTFUL * (judged + counts["uncertain"]):
        kind += " doubt"
    said = texts.get("map.square", count=len(spots), blasts=counts["blast"], uncertain=counts["uncertain"])
    if otherwise := sum(spot.is_corrected for spot in spots):
        said += f"; {texts.get('map.corrected', count=otherwise)}"
    form = (
        '<a href="{}" tabindex="-1" class="square {}"><title>{}</title>'
        '<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}"/></a>'
    )
    return _made(form, _link(spots[0].cell), kind, said, *corner, side, side)


def _step(probability: float | None) -> str:
    """The class of a colour."""
    return "q-none" if probability is None else f"q{min(int(probability * STEPS), STEPS - 1)}"


def _link(cell: SlideCell) -> str:
    """The slide's page with the part of the gallery that has this cell."""
    name = quote(cell.object_id, safe="")
    return f"?cell={name}#{name}"


def _marks(top: float, refused: int) -> Markup:
    """A mark for each frame that was not judged, up to ``MOST_MARKS``."""
    form = '<use class="refused" href="#map-refused" x="{:g}" y="{:g}"/>'
    shown = (_made(form, GAP + k * (_MARK + 1), round(top, 1)) for k in range(min(refused, MOST_MARKS)))
    return Markup().join(shown)


def _bar(sheet: Sheet, texts: Texts) -> Markup:
    """A bar of a round length, at the lower right."""
    um = bar_um(WIDTH * BAR_SHARE / sheet.scale)
    length, y = round(um * sheet.scale, 1), round(sheet.height + 6, 1)
    left, right = round(WIDTH - GAP - length, 1), round(WIDTH - GAP, 1)
    said = texts.get("map.mm", length=um / _UM_PER_MM) if um >= _UM_PER_MM else texts.get("map.um", length=um)
    path = f"M{left:g} {y - 5:g}v10M{left:g} {y:g}H{right:g}M{right:g} {y - 5:g}v10"
    form = '<path class="scale" d="{}"/><text class="part" x="{:g}" y="{:g}" text-anchor="end">{}</text>'
    return _made(form, path, right, y + 20, said)


def _made(form: str, *values: object) -> Markup:
    """Markup of our own with values in it, which are escaped."""
    return Markup(form).format(*values)  # noqa: S704 - no form comes from outside
