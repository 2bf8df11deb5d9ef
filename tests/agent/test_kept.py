"""The montage of what an agent has kept, which is bounded however much that is."""

import threading
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.pictures.cutting import KeptPicture
from agent.pictures.store import PictureStore
from agent.settings import PictureSettings
from agent.tools.kept import kept_montage
from contract.requests import PictureInfo
from tests.conftest import MakeReport

INFO = PictureInfo(media_type="image/jpeg", width=640, height=480, um_per_pixel=0.075)


@pytest.fixture
def five_frames(tmp_path: Path, make_report: MakeReport) -> Path:
    """A store of five frames, each with a cell of its own."""
    path = tmp_path / "pictures.sqlite"
    data = cv2.imencode(".jpg", np.full((480, 640, 3), 200, np.uint8))[1].tobytes()
    with closing(PictureStore(path, max_mb=8, days=1, spare_bytes=0)) as store:
        for report in map(make_report, range(1, 6)):
            store.put([KeptPicture("frame", report.frame.id, INFO, data, report.model_dump_json())])
    return path


def test_it_shows_the_cells_of_the_newest_frames_alone_and_says_so(
    five_frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.tools.kept.MOST_FRAMES", 2)
    out = tmp_path / "cells.html"
    told = kept_montage(five_frames, PictureSettings(), out, threading.Event())
    assert told.startswith("2 of 2 cells, the highest probability first.")
    assert told.endswith("; of the newest 2 of 5 frames")
    page = out.read_text()
    assert [name in page for name in ("smear-00003.png", "smear-00004.png", "smear-00005.png")] == [False, True, True]


def test_told_to_end_it_cuts_out_no_more_cells(five_frames: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    told = kept_montage(five_frames, PictureSettings(), tmp_path / "cells.html", stop)
    assert "5 of them without a picture" in told
