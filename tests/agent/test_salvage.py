"""Of a damaged outbox what can be read is rescued, and its file is kept."""

import shutil
from pathlib import Path

import pytest

from agent.wire.outbox import Outbox
from contract.messages import FrameReport
from tests.outboxes import Make, put_one


def damage(path: Path, start: int, pages: int) -> None:
    """Write nonsense over some pages of 4 KiB."""
    with path.open("r+b") as file:
        file.seek(start * 4096)
        file.write(b"\xa5" * pages * 4096)


def reports_in(outbox: Outbox) -> list[tuple[str, int]]:
    bodies = [FrameReport.model_validate_json(body) for _, body in outbox.pending(0, 10_000)]
    return [(report.epoch, report.seq) for report in bodies]


@pytest.mark.parametrize("start", [4, 20, 30])
def test_of_a_damaged_database_it_rescues_what_can_be_read_and_keeps_the_file(
    outbox_path: Path, make_report: Make, caplog: pytest.LogCaptureFixture, start: int
) -> None:
    """Rescued reports keep their keys; new ones have an epoch of their own and numbers from 1."""
    with Outbox(outbox_path, max_mb=8) as outbox:
        before = outbox.epoch
        for _ in range(200):
            put_one(outbox, make_report)
    damage(outbox_path, start, 4)
    spoilt = outbox_path.read_bytes()
    with Outbox(outbox_path, max_mb=8) as outbox:
        rescued = reports_in(outbox)
        assert 100 < len(rescued) < 200
        assert rescued == sorted(set(rescued))
        assert {epoch for epoch, _ in rescued} == {before}
        assert outbox.epoch != before
        assert [put_one(outbox, make_report) for _ in range(3)] == [1, 2, 3]
        assert reports_in(outbox) == [*rescued, (outbox.epoch, 1), (outbox.epoch, 2), (outbox.epoch, 3)]
        [alarm] = outbox.alarms()
    [aside] = outbox_path.parent.glob("*.damaged-*Z")
    assert aside.read_bytes() == spoilt
    assert str(aside) in alarm
    assert f"{len(rescued)} reports were rescued" in caplog.text
    aside.unlink()
    with Outbox(outbox_path, max_mb=8) as outbox:
        assert len(reports_in(outbox)) == len(rescued) + 3
        assert outbox.next_seq() == 4
        assert outbox.alarms() == []


def test_consumers_acknowledge_the_rescued_by_the_epoch_that_they_know(outbox_path: Path, make_report: Make) -> None:
    with Outbox(outbox_path, max_mb=8) as outbox:
        before = outbox.epoch
        for _ in range(200):
            put_one(outbox, make_report)
    damage(outbox_path, 20, 4)
    with Outbox(outbox_path, max_mb=8) as outbox:
        put_one(outbox, make_report)
        rescued = [seq for epoch, seq in reports_in(outbox) if epoch == before]
        assert outbox.acknowledge(outbox.epoch, 1) == 1
        assert outbox.oldest() == 2
        assert outbox.acknowledge(before, rescued[9]) == 10
        assert outbox.acknowledge("never", 5) is None
        assert outbox.acknowledge(before, 10**30) == len(rescued) - 10
        assert outbox.count() == 0
        assert put_one(outbox, make_report) == 2


def test_a_database_of_which_nothing_can_be_read_is_kept_aside(outbox_path: Path, make_report: Make) -> None:
    with Outbox(outbox_path, max_mb=8) as outbox:
        for _ in range(50):
            put_one(outbox, make_report)
    outbox_path.write_bytes(bytes(outbox_path.stat().st_size))
    with Outbox(outbox_path, max_mb=8) as outbox:
        assert outbox.count() == 0
        assert put_one(outbox, make_report) == 1
        assert len(outbox.alarms()) == 1


def test_an_interrupted_rescue_is_finished_at_the_next_start(outbox_path: Path, make_report: Make) -> None:
    """The new store is whole; the power went before it took the place of the damaged one, whose log stayed."""
    with Outbox(outbox_path, max_mb=8) as outbox:
        put_one(outbox, make_report)
        put_one(outbox, make_report)
        held = reports_in(outbox)
    shutil.copy(outbox_path, f"{outbox_path}.salvaged")
    damage(outbox_path, 1, 4)
    Path(f"{outbox_path}-wal").write_bytes(b"of the damaged one")
    with Outbox(outbox_path, max_mb=8) as outbox:
        assert reports_in(outbox) == held
    assert len(list(outbox_path.parent.glob("*.damaged-*Z-wal"))) == 1
    assert not Path(f"{outbox_path}.salvaged").exists()


def test_the_fourth_damaged_file_replaces_the_first(outbox_path: Path) -> None:
    for _ in range(5):
        Outbox(outbox_path, max_mb=8).close()
        outbox_path.write_bytes(bytes(8192))
        Outbox(outbox_path, max_mb=8).close()
    assert len(list(outbox_path.parent.glob("*.damaged-*"))) == 3
