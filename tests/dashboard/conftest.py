"""Stores with slides in them."""

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from collector.arrivals import Arrival
from collector.store import Store
from contract.messages import CellReport, FrameReport, SlideSummary
from contract.topics import Topics

MakeReport = Callable[..., FrameReport]
MakeCell = Callable[..., CellReport]
Keep = Callable[[Iterable[FrameReport | SlideSummary]], str]


@pytest.fixture
def make_cell(make_report: MakeReport) -> MakeCell:
    """Build one view of a cell: ``make_cell(cell_id, object_id, probability, **changes)``."""
    plain = make_report().cells[0]

    def made(cell_id: str, object_id: str, probability: float | None = 0.03, **changes: object) -> CellReport:
        called = "not_judged" if probability is None else "blast" if probability > 0.6 else "normal"
        label = "uncertain" if probability is not None and 0.4 <= probability <= 0.6 else called
        facts = {"cell_id": cell_id, "object_id": object_id, "probability": probability, "label": label}
        return plain.model_copy(update={**facts, **changes})

    return made


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Store messages of `lab`, `scope-1`, as a collector does; the address of the database."""
    address = f"sqlite:///{tmp_path / 'collector.sqlite'}"
    topics = Topics(prefix="microscopy", site="lab", device="scope-1")

    def kept(messages: Iterable[FrameReport | SlideSummary]) -> str:
        now = datetime.now(timezone.utc)
        arrivals = [
            Arrival(topics.frame if isinstance(one, FrameReport) else topics.slide, one.model_dump_json().encode(), now)
            for one in messages
        ]
        with Store(address) as store:
            assert store.store(arrivals).quarantined == 0
        return address

    return kept
