"""What systemd is told, over a real datagram socket."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.ops.notify import Notifier, WatchedSink
from common.errors import OutboxFull
from contract.messages import FrameReport, Quality

MakeReport = Callable[..., FrameReport]


class Manager:
    """systemd's end of the socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "8000000"}

    def heard(self) -> list[str]:
        words: list[str] = []
        try:
            while True:
                words.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return words

    def close(self) -> None:
        self._socket.close()


class Shelf:
    """A sink that is full when it is told to be."""

    epoch = "0123456789abcdef"
    full = False

    def next_seq(self) -> int:
        return 1

    def put(self, report: FrameReport) -> None:
        if self.full:
            raise OutboxFull(f"no room for {report.seq}")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    end = Manager(tmp_path / "notify")
    yield end
    end.close()


def test_ready_is_said_with_the_first_report_and_not_before(manager: Manager, make_report: MakeReport) -> None:
    sink = WatchedSink(Shelf(), Notifier(manager.environment), fit=lambda: True)
    assert manager.heard() == []
    sink.put(make_report())
    assert manager.heard() == ["READY=1", "WATCHDOG=1"]


def test_the_watchdog_is_fed_by_work_an_eighth_of_its_period_apart(manager: Manager, make_report: MakeReport) -> None:
    moments = iter([0.0, 0.5, 0.9, 1.1, 1.5])
    sink = WatchedSink(Shelf(), Notifier(manager.environment, clock=lambda: next(moments)), fit=lambda: True)
    for _ in range(5):
        sink.put(make_report())
    assert manager.heard() == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_a_silent_camera_is_no_work(manager: Manager, make_report: MakeReport) -> None:
    sink = WatchedSink(Shelf(), Notifier(manager.environment), fit=lambda: True)
    sink.put(make_report(quality=Quality(accepted=False, reasons=["stale"])))
    assert manager.heard() == []
    sink.put(make_report(quality=Quality(accepted=False, reasons=["empty"])))
    assert manager.heard()


def test_work_without_a_publisher_starves_the_watchdog(manager: Manager, make_report: MakeReport) -> None:
    WatchedSink(Shelf(), Notifier(manager.environment), fit=lambda: False).put(make_report())
    assert manager.heard() == []


def test_a_full_outbox_is_no_hang(manager: Manager, make_report: MakeReport) -> None:
    shelf = Shelf()
    shelf.full = True
    with pytest.raises(OutboxFull):
        WatchedSink(shelf, Notifier(manager.environment), fit=lambda: True).put(make_report())
    assert manager.heard() == ["READY=1", "WATCHDOG=1"]


def test_abstract_addresses_are_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind("\0microscope-agent-test-notify")
        door.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@microscope-agent-test-notify"}).status("12 frames")
        assert door.recv(4096) == b"STATUS=12 frames"


def test_nobody_listening_is_no_fault(tmp_path: Path) -> None:
    Notifier({}).stopping()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).stopping()
