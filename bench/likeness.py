"""Cells by how like one they are, as the page's "like this one" orders them: asked first, and asked again."""

import statistics
import tempfile
import threading
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from agent.pictures.cutting import pictures_of
from agent.pipeline import Examiner, numbered
from agent.sources.synthetic import SyntheticSource
from bench.pictures import reports_of
from bench.results import Figures
from collector.picture_store import Fetched, PictureTable, Wanted
from collector.queries import reading
from collector.store import Store
from contract.bundle import SHIPPED, open_bundle
from dashboard.pages.review import MOST_LIKE
from dashboard.records import Box, SlideCell
from dashboard.reviews.descriptors import Descriptors
from dashboard.reviews.likeness import by_likeness
from engines.choice import open_engine

ROUNDS = 5


def measure() -> Figures:
    """Milliseconds of one question about as many cells as the page compares, and how many times as fast the next is."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        database = f"sqlite:///{Path(name) / 'collector.sqlite'}"
        cells = _stored(database)
        memory = Descriptors()
        first = _asked(database, memory, cells)
        again = [_asked(database, memory, cells) for _ in range(ROUNDS)]
    return {
        "cells": len(cells),
        "first_ms": round(first * 1e3),
        "again_ms": round(statistics.median(again) * 1e3, 1),
        "first_of_again": round(first / statistics.median(again), 1),
    }


def _asked(database: str, memory: Descriptors, cells: list[SlideCell]) -> float:
    began = time.perf_counter()
    with reading(database) as connection:
        measured = memory.of(connection, "bench", cells)
    by_likeness([cell.object_id for cell in cells], measured, cells[0].object_id)
    return time.perf_counter() - began


def _stored(database: str) -> list[SlideCell]:
    """Pictures of found cells in a store, each under several names until there are enough."""
    bundle, now = open_bundle(SHIPPED), datetime.now(timezone.utc)
    source = SyntheticSource(frames=60)
    with closing(open_engine(bundle)) as engine, source.open(threading.Event()) as frames:
        shown = list(numbered(frames, "bench"))
        reports = reports_of(shown, Examiner("bench", "bench", bundle, engine))
    field_um = bundle.manifest.input.field_um
    pictures = [
        one for pair in zip(shown, reports, strict=True) for one in pictures_of(*pair, field_um) if one.kind == "cell"
    ]
    areas = [cell.area_um2 for report in reports for cell in report.cells]
    with Store(database) as store:
        store.open()
    cells = []
    with closing(PictureTable(database, max_mb=4096, days=1)) as table:
        for number in range(MOST_LIKE):
            picture = pictures[number % len(pictures)]
            table.keep("bench", [Fetched(Wanted("cell", f"c{number}", now), picture.info, picture.data)])
            area = areas[number % len(areas)]
            cells.append(SlideCell(f"o{number}", f"c{number}", "f", now, Box(0, 0, 9, 9), area, "normal", 0.1, (), 1))
    return cells


if __name__ == "__main__":
    print(measure())
