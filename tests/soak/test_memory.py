"""Long runs: `make soak`."""

import pytest

from bench.service import memory_mb
from devbroker.broker import open_broker

FRAMES = 10_000
NEW_CELLS = 3
"""White cells that no frame before has shown, in each rendered frame: the slide remembers the latest 100,000."""
CELL_MB = 0.6 / 1024
"""What the slide remembers of a cell takes 0.55 KiB (tracemalloc)."""


@pytest.mark.soak
def test_memory_stays_flat_but_for_the_slides_cells_over_ten_thousand_frames_and_every_report_arrives() -> None:
    """The measurement itself waits for the reports at a subscriber. One report that is kept a frame would be 16 MiB."""
    with open_broker() as broker:
        early, late, peak = memory_mb(broker, frames=FRAMES)
    cells = NEW_CELLS * (FRAMES - FRAMES // 5) * CELL_MB
    assert late < 1.03 * early + cells, f"{early:.1f} MiB grew to {late:.1f}, of which the cells are {cells:.1f}"
    assert peak < 300
