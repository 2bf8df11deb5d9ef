"""Slides as values, for what goes out of the dashboard: a usual one, an empty one, a large one, one with long names."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import cv2
import numpy as np

from contract.messages import Interval, ModelInfo, SlideSummary
from dashboard.exports.review_summary import ReviewSummary, Signature, final_label
from dashboard.records import Box, Counts, RefusedFrame, SlideCell, SlideKey, SlideRecord
from export.golden import draw_cell
from tests.drawn import WIDE

if TYPE_CHECKING:
    from contract.labels import Label

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
PRINTED = NOON + timedelta(hours=2)
MODEL = ModelInfo(id="blast-8", sha256="ab" * 32, engine="tensorrt-int8", gate="passed", colour="cells")
LONG = "Hämatologisches-Zentrallabor-der-Universitätsklinik-Nordrhein-Süd-Außenstelle"
EVIL = "<script>alert('x')</script>&\"'{{ 7*7 }}\x1b[31m"


def cell(number: int, probability: float | None, *, count: str = "r-s1", flags: tuple[str, ...] = ()) -> SlideCell:
    """A cell of a slide, called by its probability."""
    called: Label = "not_judged" if probability is None else "blast" if probability > 0.6 else "normal"
    between = probability is not None and 0.4 <= probability <= 0.6
    return SlideCell(
        object_id=f"{count}-c{number}",
        cell_id=f"{count}-{number:08d}-1",
        frame_id=f"{count}-{number:08d}",
        captured_at=NOON + timedelta(seconds=number),
        box=Box(-3, 20, 160, 150),
        area_um2=105.25,
        label="uncertain" if between or flags == ("other",) else called,
        probability=probability,
        flags=flags,
        views=1 + number % 3,
        um_per_pixel=0.0752,
    )


def summary(**changes: object) -> SlideSummary:
    """The agent's summary of a slide, with a share that is corrected for the model's known error."""
    plain = SlideSummary(
        slide_id="slide-7",
        count_id="r-s1",
        state="closed",
        started_at=NOON,
        ended_at=NOON + timedelta(minutes=9),
        at=NOON + timedelta(minutes=9),
        frames=40,
        refused=3,
        cells=12,
        normal=7,
        blasts=2,
        uncertain=2,
        not_judged=1,
        blast_fraction=2 / 9,
        corrected_fraction=0.1987,
        corrected_interval=Interval(low=0.03, high=0.55, level=0.95),
        enough_cells="no",
        jumps=0,
        model=MODEL,
    )
    return plain.model_copy(update=changes)


def refused(*reasons: tuple[str, ...]) -> tuple[RefusedFrame, ...]:
    """Frames that were refused, each for its reasons."""
    return tuple(RefusedFrame(f"r-{k}", f"smear-{k}.png", NOON, why) for k, why in enumerate(reasons))


def usual(**changes: object) -> SlideRecord:
    """Twelve cells, three refused frames, one summary."""
    chances = (0.02, 0.97, 0.1, 0.5, 0.03, 0.8, None, 0.04, 0.05, 0.01, 0.2)
    cells = [cell(k, chance, flags=("edge",) if chance is None else ()) for k, chance in enumerate(chances, start=1)]
    facts = {
        "key": SlideKey("lab", "scope-1", "slide-7"),
        "summaries": (summary(),),
        "cells": (*cells, cell(12, 0.7, flags=("other",))),
        "frames": 40,
        "refused": refused(("out_of_focus",), ("out_of_focus", "motion"), ("upside_down",)),
        "models": ("blast-8",),
        "engines": ("tensorrt-int8",),
        "first_at": NOON,
        "last_at": NOON + timedelta(minutes=9),
        "upto": 40,
        "scales": (0.0752,),
    }
    return SlideRecord(**{**facts, **changes})  # type: ignore[arg-type]


def empty() -> SlideRecord:
    """A slide of which nothing was judged: every frame was refused, and no summary came."""
    return usual(summaries=(), cells=(), frames=2, scales=(), refused=refused(("empty",), ("empty", "wrong_stain")))


def nothing() -> SlideRecord:
    """A slide that has a summary alone."""
    opened = summary(state="open", ended_at=None, corrected_fraction=None, corrected_interval=None, enough_cells=None)
    return usual(
        summaries=(opened,), cells=(), frames=0, refused=(), models=(), engines=(), first_at=None, last_at=None
    )


def large(cells: int = 10_000) -> SlideRecord:
    """Many cells of two counts, judged by two models; refused frames of every kind."""
    rng = np.random.default_rng(5)
    chances = np.where(rng.random(cells) < 0.2, rng.beta(9, 1, cells), rng.beta(1, 12, cells))
    reasons = ("out_of_focus", "motion", "overexposed", "underexposed", "uneven", "noise", "wrong_stain", "wrong_scale")
    return usual(
        summaries=(summary(state="closed"), summary(count_id="r-s2", model=MODEL.model_copy(update={"id": "blast-9"}))),
        cells=tuple(cell(k, float(chance), count=f"r-s{1 + k % 2}") for k, chance in enumerate(chances, start=1)),
        frames=4000,
        refused=refused(*[(reasons[k % 8],) for k in range(300)]),
        models=("blast-8", "blast-9"),
        engines=("tensorrt-int8", "onnxruntime-int8"),
    )


def long_names() -> SlideRecord:
    """A slide whose every name is as long as it may be, or hostile."""
    named = usual(
        key=SlideKey(LONG, f"mikroskop-{LONG}", f"{'P-2026-000123-' * 12}{EVIL}"),
        models=("blast-8", f"modell-{LONG}"),
        engines=("tensorrt-int8", f"onnxruntime-{LONG}"),
        refused=refused(("out_of_focus", f"grund-{LONG}"), (EVIL,)),
    )
    return usual(
        key=named.key,
        models=named.models,
        engines=named.engines,
        refused=named.refused,
        cells=tuple(cell(k, 0.9 - k / 100, count=f"{LONG}-r-s1", flags=("unlike_training",)) for k in range(1, 21)),
    )


def reviewed(record: SlideRecord, **changes: object) -> ReviewSummary:
    """Two readings of a slide: uncertain cells became normal, but for one that is a smudge."""
    doubted = [one.object_id for one in record.cells if one.label == "uncertain"]
    labels = dict.fromkeys(doubted, "normal") | dict.fromkeys(doubted[:1], "smudge")
    plain = ReviewSummary(counts=Counts(), labels=labels)
    called = [final_label(one, plain) for one in record.cells]
    facts = {
        "counts": Counts.of(one for one in called if one != "smudge"),  # type: ignore[misc]
        "signatures": (
            Signature("Dr. Ada Example", "reviewer", NOON + timedelta(hours=1), "1"),
            Signature("Bert Beispiel", "reviewer", NOON + timedelta(minutes=75), "2"),
        ),
        "apart": {"smudge": called.count("smudge")},
        "labels": labels,
        "kappa": 0.8123,
        "notes": ("Many smudges at the feathered edge.\nSecond line.",),
    }
    return ReviewSummary(**{**facts, **changes})  # type: ignore[arg-type]


def drawn(suffix: str = ".webp") -> Callable[[str], bytes]:
    """Pictures of cells, drawn: the same name has the same picture."""

    def picture(cell_id: str) -> bytes:
        rng = np.random.default_rng(sum(cell_id.encode()))
        image = draw_cell(WIDE, blast=bool(rng.random() < 0.5), rng=rng)
        return bytes(cv2.imencode(suffix, image, [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [])[1])

    return picture
