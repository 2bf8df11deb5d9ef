"""Long runs: `make soak`."""

import pytest

from bench.service import memory_mb
from devbroker.broker import open_broker


@pytest.mark.soak
def test_memory_stays_flat_over_ten_thousand_frames_and_every_report_arrives() -> None:
    """The measurement itself waits for the reports at a subscriber."""
    with open_broker() as broker:
        early, late, peak = memory_mb(broker, frames=10_000)
    assert late < 1.05 * early, f"{early:.1f} MiB grew to {late:.1f}"
    assert peak < 300
