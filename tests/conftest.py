"""Parts that several rooms' tests share: a report that is true to form, and real brokers."""

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from contract.messages import BoxReport, CellReport, FrameInfo, FrameReport, ModelInfo, Quality

MakeReport = Callable[..., FrameReport]


@pytest.fixture(scope="session")
def make_report() -> MakeReport:
    """Build a report of one white cell: ``make_report(seq, epoch, **changes)``."""
    return _report


def _report(seq: int = 1, epoch: str = "0123456789abcdef", **changes: Any) -> FrameReport:
    frame = FrameInfo(
        id=f"run-{seq:08d}",
        source=f"smear-{seq:05d}.png",
        captured_at=datetime.now(timezone.utc),
        width=640,
        height=480,
        um_per_pixel=0.075,
    )
    cell = CellReport(
        cell_id=f"run-{seq:08d}-1",
        box=BoxReport(x=10, y=20, width=160, height=150),
        area_um2=105.0,
        label="normal",
        probability=0.03,
    )
    report = FrameReport(
        device="scope-1",
        site="lab",
        epoch=epoch,
        seq=seq,
        slide_id="slide-7",
        frame=frame,
        quality=Quality(accepted=True),
        cells=[cell],
        model=ModelInfo(id="blast-1", sha256="0" * 64, engine="onnxruntime-int8"),
    )
    return report.model_copy(update=changes)
