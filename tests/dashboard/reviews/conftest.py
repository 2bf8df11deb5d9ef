"""Slides as values, databases of either make, and reviews with both readings in them."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from dashboard.records import Box, SlideCell, SlideKey, SlideRecord
from dashboard.reviews.events import Given, Reading
from dashboard.reviews.store import ReviewStore
from tests.collector.conftest import cluster, database, postgresql

__all__ = ["cluster", "database", "postgresql"]
KEY = SlideKey("lab", "scope-1", "slide-7")
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
CLASSES = ("artefact", "smudge")


def cell(name: str, probability: float | None = 0.03, **changes: object) -> SlideCell:
    """A cell; its label goes by its probability unless it is given."""
    called = "not_judged" if probability is None else "blast" if probability > 0.6 else "normal"
    label = "uncertain" if probability is not None and 0.4 <= probability <= 0.6 else called
    facts = {"area_um2": 100.0, "label": label, "flags": (), "views": 1, "model_id": "blast-8", **changes}
    return SlideCell(
        object_id=name,
        cell_id=f"view-of-{name}",
        frame_id="f1",
        captured_at=NOON,
        box=Box(1, 2, 30, 40),
        probability=probability,
        **facts,  # type: ignore[arg-type]
    )


def slide_of(*cells: SlideCell, upto: int = 1, key: SlideKey = KEY, **changes: object) -> SlideRecord:
    facts = {"frames": 1, "refused": (), "models": ("blast-8",), "engines": ("onnxruntime-int8",), **changes}
    return SlideRecord(
        key=key,
        summaries=(),
        cells=cells,
        first_at=NOON,
        last_at=NOON,
        upto=upto,
        **facts,  # type: ignore[arg-type]
    )


def three(**changes: object) -> SlideRecord:
    """A normal cell, an uncertain one and a blast."""
    return slide_of(cell("r-c1", 0.03), cell("r-c2", 0.5), cell("r-c3", 0.97), **changes)  # type: ignore[arg-type]


class Desk:
    """A reviewer at the screen: each call has an id of its own."""

    numbers = itertools.count()

    def __init__(self, store: ReviewStore, person: str = "ada", reading: Reading = "1") -> None:
        self.store, self.person, self.reading = store, person, reading

    def call_id(self) -> str:
        return f"call-id-{next(self.numbers):06d}"

    def begin(self, record: SlideRecord) -> "Desk":
        """Take the reading that is free, with every cell on the screen."""
        self.reading = self.store.begin(record.key, self.person, "reviewer", self.call_id())
        return self.look(record)

    def look(self, record: SlideRecord) -> "Desk":
        names = [one.object_id for one in record.cells]
        self.store.mark_shown(record, self.person, "reviewer", self.reading, names)
        return self

    def say(self, record: SlideRecord, **labels: str) -> "Desk":
        """Give labels in one call: ``r_c1="blast"``; `unsure`, `confirm` and `undo` are kinds."""
        given = [
            Given(name.replace("_", "-"), label) if label in {"unsure", "confirm", "undo"}  # type: ignore[arg-type]
            else Given(name.replace("_", "-"), "correct", label)
            for name, label in labels.items()
        ]  # fmt: skip
        self.store.give(record, self.person, "reviewer", self.reading, given, call_id=self.call_id(), classes=CLASSES)
        return self

    def sign(self, record: SlideRecord) -> int:
        return self.store.sign(record, self.person, "reviewer", self.reading, call_id=self.call_id()).id

    def withdraw(self, signature: int, reason: str = "by mistake") -> None:
        self.store.withdraw(KEY, signature, self.person, "reviewer", reason=reason, call_id=self.call_id())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReviewStore]:
    """A store in a file of its own."""
    with ReviewStore(f"sqlite:///{tmp_path / 'reviews.sqlite'}") as reviews:
        reviews.open()
        yield reviews
