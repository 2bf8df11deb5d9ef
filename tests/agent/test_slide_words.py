"""What `replay` and `slide stop` print of a slide's share of blasts."""

from datetime import datetime, timezone
from typing import Any

import pytest

from agent.tools.replay_summary import Summary
from agent.tools.slide_commands import closed_words
from contract.messages import Interval, ModelInfo, SlideSummary

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
WORDS = "corrected for the model's known error 17.7 % (95 % interval 8.0 % to 31.0 %); enough cells seen: yes"
CORRECTED = {
    "corrected_fraction": 0.1774,
    "corrected_interval": Interval(low=0.08, high=0.31, level=0.95),
    "enough_cells": "yes",
}


def slide_of(**changes: Any) -> SlideSummary:
    summary = SlideSummary(
        slide_id="s7", count_id="r-s1", state="closed", started_at=NOON, at=NOON, frames=40, refused=1, cells=50,
        normal=39, blasts=9, uncertain=0, not_judged=2, blast_fraction=0.1875,
        blast_interval=Interval(low=0.102, high=0.319, level=0.95), jumps=1,
        model=ModelInfo(id="blast-1", sha256="", engine="none"),
    )  # fmt: skip
    return summary.model_copy(update=changes)


def replayed(slide: SlideSummary) -> str:
    summary = Summary()
    summary.count(slide)
    return str(summary)


def test_replay_says_the_corrected_share_beside_the_one_that_was_called() -> None:
    called = "blasts 18.8 % of the 48 called normal or blast (95 % interval 10.2 % to 31.9 %)"
    assert f"{called}, {WORDS}; 1 jump" in replayed(slide_of(**CORRECTED))
    assert f"{called}; 1 jump" in replayed(slide_of())


def test_slide_stop_says_the_share_and_the_corrected_one() -> None:
    called = "9 blast, 0 uncertain, 2 not judged; blasts 18.8 % of those called normal or blast"
    assert closed_words(slide_of(**CORRECTED)).endswith(f"{called}, {WORDS}")
    assert closed_words(slide_of()).endswith(called)


@pytest.mark.parametrize("say", [replayed, closed_words])
def test_of_a_slide_without_judged_cells_no_share_is_said(say: Any) -> None:
    assert "%" not in say(slide_of(normal=0, blasts=0, blast_fraction=None, blast_interval=None))
