"""Pictures are kept beside the loop, which never waits for them."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from agent.config import load_alone
from agent.pictures.cutting import KeptPicture
from agent.pictures.keeper import MOST_FRAMES, PictureKeeper, PictureTap
from agent.pictures.store import PictureStore
from agent.service import serve
from agent.wire.outbox import Outbox
from common.errors import OutboxFull
from contract.messages import BoxReport, FrameReport
from devbroker.broker import Broker
from tests.kept import seen
from tests.waiting import until

Make = Callable[..., FrameReport]
BOX = BoxReport(x=100, y=100, width=40, height=40)


class SlowStore(PictureStore):
    """A store that takes nothing until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, max_mb=64, days=1, spare_bytes=0)
        self.began, self.goes = threading.Event(), threading.Event()

    def put(self, pictures: Sequence[KeptPicture]) -> None:
        self.began.set()
        self.goes.wait(20)
        super().put(pictures)


class ListSink:
    """A sink that keeps reports in memory, or is full."""

    epoch = "e"

    def __init__(self) -> None:
        self.reports: list[FrameReport] = []
        self.full = False

    def next_seq(self) -> int:
        return len(self.reports) + 1

    def put(self, report: FrameReport) -> None:
        if self.full:
            raise OutboxFull("full")
        self.reports.append(report)


def test_what_comes_faster_than_it_can_be_kept_is_dropped_and_counted(tmp_path: Path, make_report: Make) -> None:
    store, stop = SlowStore(tmp_path / "p.sqlite"), threading.Event()
    keeper = PictureKeeper(store, lambda: 16.0)
    frame, report = seen(make_report, BOX)
    with keeper.running(stop):
        keeper.offer(frame, report)
        assert store.began.wait(10)
        for _ in range(MOST_FRAMES + 5):
            keeper.offer(frame, report)
        assert (keeper.health().kept, keeper.health().dropped) == (0, 10)
        store.goes.set()
    assert (keeper.health().kept, keeper.health().dropped) == (2 + 2 * MOST_FRAMES, 10)


def test_a_frame_that_is_larger_than_the_bound_is_kept_if_no_other_waits(
    tmp_path: Path, make_report: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.pictures.keeper.MOST_BYTES", 10)
    store = SlowStore(tmp_path / "p.sqlite")
    keeper = PictureKeeper(store, lambda: 16.0)
    frame, report = seen(make_report, BOX)
    with keeper.running(threading.Event()):
        keeper.offer(frame, report)
        assert store.began.wait(10)
        keeper.offer(frame, report)
        keeper.offer(frame, report)
        store.goes.set()
    assert (keeper.health().kept, keeper.health().dropped) == (4, 2)


def test_a_store_that_hangs_holds_up_no_stop(tmp_path: Path, make_report: Make) -> None:
    store, stop = SlowStore(tmp_path / "p.sqlite"), threading.Event()
    keeper = PictureKeeper(store, lambda: 16.0)
    with keeper.running(stop):
        keeper.offer(*seen(make_report, BOX))
        keeper.offer(*seen(make_report, BOX))
        assert store.began.wait(10)
        stop.set()
    assert keeper.health().dropped == 2
    store.goes.set()


def test_pictures_for_which_there_is_no_room_are_counted_and_told(tmp_path: Path, make_report: Make) -> None:
    store = PictureStore(tmp_path / "p.sqlite", max_mb=4, days=1, spare_bytes=2**60)
    keeper = PictureKeeper(store, lambda: 16.0)
    with keeper.running(threading.Event()):
        keeper.offer(*seen(make_report, BOX))
        assert until(lambda: keeper.health().dropped == 2)
        assert keeper.alarms()[0].startswith("no pictures are kept, reports go on; there is no room on the disk")


def test_only_what_the_sink_took_is_kept_and_only_of_its_own_frame(tmp_path: Path, make_report: Make) -> None:
    store, sink = PictureStore(tmp_path / "p.sqlite", max_mb=4, days=1, spare_bytes=0), ListSink()
    keeper = PictureKeeper(store, lambda: 16.0)
    tap = PictureTap(sink, keeper)
    frame, report = seen(make_report, BOX)
    with keeper.running(threading.Event()):
        for _ in tap.through([frame]):
            sink.full = True
            with pytest.raises(OutboxFull):
                tap.put(report)
            sink.full = False
            other = report.model_copy(update={"frame": report.frame.model_copy(update={"id": "other"})})
            tap.put(other)
            tap.put(report)
    assert sink.reports == [other, report]
    assert keeper.health().kept == 2
    assert store.get("cell", report.cells[0].cell_id) is not None
    assert store.get("frame", "other") is None


def reports_of(folder: Path, broker: Broker, *, keep: bool) -> list[FrameReport]:
    """What an agent says of six drawn frames, as it stands in its outbox: nobody acknowledges it."""
    wanted = {
        "state_dir": str(folder), "device": folder.name, "mqtt.prefix": "test", "mqtt.port": str(broker.port),
        "mqtt.drain_s": "0.1", "outbox.forget_on": "consumer", "source.kind": "synthetic", "source.frames": "6",
        "pictures.keep": str(keep).lower(),
    }  # fmt: skip
    health = serve(load_alone(wanted), threading.Event())
    assert (health.pictures is not None) == keep
    assert health.pictures is None or health.pictures.dropped == 0
    with Outbox(folder / "outbox.sqlite", max_mb=8) as outbox:
        return [FrameReport.model_validate_json(body) for _, body in outbox.pending(0, 100)]


def without_chance(report: FrameReport) -> str:
    """A report without its times and without what differs in every run: names of the run and of the outbox."""
    told = report.model_dump_json(exclude={"timing_ms": True, "epoch": True, "device": True, "frame": {"captured_at"}})
    run = report.frame.id.partition("-")[0]
    return told.replace(run, "run")


def test_reports_are_the_same_whether_pictures_are_kept_or_not(mosquitto: Broker, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.service._account_for", lambda *_args, **_named: None)  # they are to stay in the outbox
        kept, plain = (reports_of(tmp_path / name, mosquitto, keep=name == "kept") for name in ("kept", "plain"))
    assert len(kept) == 6
    assert [without_chance(report) for report in kept] == [without_chance(report) for report in plain]
    assert not (tmp_path / "plain" / "pictures.sqlite").exists()
    with closing(sqlite3.connect(tmp_path / "kept" / "pictures.sqlite")) as db:
        stored = {name for (name,) in db.execute("select name from picture")}
    assert stored == {cell.cell_id for report in kept for cell in report.cells} | {report.frame.id for report in kept}
