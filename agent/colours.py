"""What the agent knows of its site's colours: learned from the cells that it finds, or measured by `calibrate site`."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from contract.cell_colours import blended, colours_of, distance, moments_of
from contract.manifest import CellColours
from contract.types import Cell, Doubt, Image

ENOUGH = 24
"""Cells from which the colours of a site are known well enough to judge by."""
PRIOR = 8
"""So many cells of the training's colours are counted in, so that the first cell of a site is not its own measure."""
KEPT = 500
"""The latest cells count: light and stain of a site drift within months."""
SAME = 0.004
"""Of every figure, within which a cell is one that is counted already: a stage stands still for many frames."""
FAR = 0.6
"""Distance of a site's colours from the training's, up to which cells are judged from the first on."""
UNKNOWN: tuple[Doubt, ...] = ("colours_unknown",)


class SiteColours:
    """The running colours of one site's cells.

    Args:
        goal: colours of the training's cells.
        measured: what `calibrate site` found; then nothing is learned.
    """

    def __init__(self, goal: CellColours, measured: CellColours | None = None) -> None:
        self._goal, self._measured = goal, measured
        self._ring = np.empty((KEPT, 2, 3))
        self._counted = 0
        self._now = goal

    @property
    def cells(self) -> int:
        """How many cells they rest on, at most ``KEPT``."""
        return min(self._counted, KEPT)

    @property
    def _latest(self) -> NDArray[np.float64]:
        """Their moments, (N, 2, 3), in no order."""
        return self._ring[: self.cells]

    @property
    def now(self) -> CellColours:
        """The colours that crops are moved from."""
        return self._measured or self._now

    @property
    def known(self) -> CellColours | None:
        """What was learned, for the site file; None while too few cells are known."""
        return colours_of(self._latest) if self.cells >= ENOUGH else None

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Why no cell can be judged yet: the site looks foreign, and few of its cells are known."""
        if self._measured or not 0 < self.cells < ENOUGH:
            return ()
        return UNKNOWN if distance(colours_of(self._latest), self._goal) > FAR else ()

    def learn(self, image: Image, cells: Iterable[Cell]) -> None:
        """Count the cells of a frame that the border does not cut."""
        if self._measured:
            return
        whole = (cell for cell in cells if "edge" not in cell.flags and len(cell.outline))
        found = [m for m in (moments_of(image, cell.outline) for cell in whole) if m is not None]
        new = [m for m in found if not self._is_counted(m)]
        if not new:
            return
        for moments in new:
            self._ring[self._counted % KEPT] = moments
            self._counted += 1
        self._now = blended(colours_of(self._latest), self._goal, self.cells / (self.cells + PRIOR))

    def _is_counted(self, moments: NDArray[np.float64]) -> bool:
        return bool((np.abs(self._latest - moments).max(axis=(1, 2)) < SAME).any())
