"""Messages for the tally of the dashboard."""

from datetime import datetime, timezone
from typing import Any

from contract.messages import FrameReport, Interval, ModelInfo, SlideSummary
from dashboard.terminal.tally import Tally

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def take(tally: Tally, report: FrameReport, received_at: datetime = NOW) -> str:
    topic = f"p/v1/{report.site}/{report.device}/frame"
    return tally.take(topic, report.model_dump_json().encode(), received_at=received_at, retained=False)


def slide_of(**changes: Any) -> SlideSummary:
    summary = SlideSummary(
        slide_id="s7", count_id="r-s1", state="open", started_at=NOW, at=NOW, frames=40, refused=1, cells=50,
        normal=39, blasts=9, uncertain=0, not_judged=2, blast_fraction=0.1875,
        blast_interval=Interval(low=0.102, high=0.319, level=0.95), jumps=1,
        model=ModelInfo(id="blast-1", sha256="", engine="none"),
    )  # fmt: skip
    return summary.model_copy(update=changes)
