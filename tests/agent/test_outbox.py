"""The outbox keeps what it took, in order, whatever happens to the process."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire.outbox import Outbox
from common.errors import OutboxError, OutboxFull
from contract.messages import FrameReport
from tests.outboxes import Make, put_one

PUT_UNTIL_KILLED = """
import sys
from pathlib import Path
from agent.wire.outbox import Outbox
from contract.messages import FrameReport

report = FrameReport.model_validate_json(sys.argv[2])
with Outbox(Path(sys.argv[1]), max_mb=8) as outbox:
    while True:
        seq = outbox.next_seq()
        outbox.put(report.model_copy(update={"epoch": outbox.epoch, "seq": seq}))
        print(seq, flush=True)
"""


def put_for_ever(outbox: Outbox, make_report: Make, **changes: object) -> None:
    while True:
        put_one(outbox, make_report, **changes)


def numbers(outbox: Outbox) -> list[int]:
    return [seq for seq, _ in outbox.pending(0, 10_000)]


def test_gives_back_what_was_put_in_order(outbox_path: Path, make_report: Make) -> None:
    with Outbox(outbox_path, max_mb=8) as outbox:
        reports = [make_report(seq, outbox.epoch) for seq in (1, 2, 3)]
        for report in reports:
            outbox.put(report)
        stored = outbox.pending(1, 10)
        assert [seq for seq, _ in stored] == [2, 3]
        assert FrameReport.model_validate_json(stored[0][1]).frame.id == reports[1].frame.id
        assert (outbox.count(), outbox.count_in_line(after=2), outbox.pending(0, 1)[0][0]) == (3, 1, 1)


def test_epoch_and_numbering_survive_restart_and_deletes(outbox_path: Path, make_report: Make) -> None:
    with Outbox(outbox_path, max_mb=8) as outbox:
        epoch = outbox.epoch
        for _ in range(3):
            put_one(outbox, make_report)
        assert outbox.acknowledge(epoch, 3) == 3
    with Outbox(outbox_path, max_mb=8) as outbox:
        assert (outbox.epoch, outbox.next_seq(), outbox.count()) == (epoch, 4, 0)


def test_a_new_database_is_a_new_epoch(tmp_path: Path) -> None:
    with Outbox(tmp_path / "a", max_mb=8) as one, Outbox(tmp_path / "b", max_mb=8) as other:
        assert one.epoch != other.epoch


def test_refuses_a_report_out_of_turn(outbox_path: Path, make_report: Make) -> None:
    with Outbox(outbox_path, max_mb=8) as outbox:
        for seq, epoch in ((2, outbox.epoch), (1, "another")):
            with pytest.raises(ValueError, match="not the next one"):
                outbox.put(make_report(seq, epoch))
        assert put_one(outbox, make_report) == 1


def test_calls_its_listener_after_the_report_is_stored(outbox_path: Path, make_report: Make) -> None:
    with Outbox(outbox_path, max_mb=8) as outbox:
        counts: list[int] = []
        outbox.on_change(lambda: counts.append(outbox.count()))
        put_one(outbox, make_report)
        put_one(outbox, make_report)
        assert counts == [1, 2]


def test_when_full_it_keeps_what_it_has_and_goes_on_after_forgetting(outbox_path: Path, make_report: Make) -> None:
    with Outbox(outbox_path, max_mb=1) as outbox:
        bulky = {"slide_id": "s" * 20_000}
        with pytest.raises(OutboxFull, match=r"outbox\.max_mb"):
            put_for_ever(outbox, make_report, **bulky)
        held = numbers(outbox)
        assert held == list(range(1, outbox.next_seq()))
        assert len(held) > 30
        with pytest.raises(OutboxFull):
            put_one(outbox, make_report, **bulky)
        assert numbers(outbox) == held
        assert "outbox.max_mb" in outbox.alarms()[0]
        outbox.forget(held[:10])
        assert put_one(outbox, make_report, **bulky) == held[-1] + 1
        assert outbox.alarms() == []
        assert numbers(outbox) == [*held[10:], held[-1] + 1]


def test_stays_within_its_bound_on_disk(outbox_path: Path, make_report: Make) -> None:
    with Outbox(outbox_path, max_mb=1) as outbox, pytest.raises(OutboxFull):
        put_for_ever(outbox, make_report, slide_id="s" * 2000)
    assert outbox_path.stat().st_size <= 2**20


def test_a_second_agent_is_refused(outbox_path: Path) -> None:
    with Outbox(outbox_path, max_mb=8), pytest.raises(OutboxError, match="another agent holds"):
        Outbox(outbox_path, max_mb=8)
    Outbox(outbox_path, max_mb=8).close()


def test_refuses_a_file_that_is_no_database(outbox_path: Path) -> None:
    outbox_path.parent.mkdir()
    outbox_path.write_text("patient list\n" * 500)
    with pytest.raises(OutboxError, match="not a database"):
        Outbox(outbox_path, max_mb=8)
    assert outbox_path.read_text().startswith("patient list")


def test_refuses_a_foreign_database_and_leaves_it_as_it_was(outbox_path: Path) -> None:
    outbox_path.parent.mkdir()
    foreign = sqlite3.connect(outbox_path)
    foreign.execute("create table orders (id integer)")
    foreign.close()
    before = outbox_path.read_bytes()
    with pytest.raises(OutboxError, match="no outbox"):
        Outbox(outbox_path, max_mb=8)
    assert outbox_path.read_bytes() == before


def test_refuses_a_later_layout(outbox_path: Path) -> None:
    Outbox(outbox_path, max_mb=8).close()
    later = sqlite3.connect(outbox_path)
    later.execute("pragma user_version = 3")
    later.execute("create table more (key text)")
    later.close()
    with pytest.raises(OutboxError, match="layout 3"):
        Outbox(outbox_path, max_mb=8)


def test_says_which_folder_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutboxError, match="state_dir"):
        Outbox(tmp_path / "file" / "outbox.sqlite", max_mb=8)


def test_whatever_put_returned_for_survives_kill_9(outbox_path: Path, make_report: Make) -> None:
    """The ledger is what another process read of the numbers that were put; each must be there."""
    arguments = [
        sys.executable, "-c", PUT_UNTIL_KILLED, str(outbox_path), make_report().model_dump_json(),
    ]  # fmt: skip
    acknowledged = 0
    for puts in (1, 37, 120):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            ledger = [int(process.stdout.readline()) for _ in range(puts)]
            process.send_signal(signal.SIGKILL)
            ledger += [int(line) for line in process.stdout.readlines()]
        assert ledger[0] > acknowledged
        acknowledged = ledger[-1]
        with Outbox(outbox_path, max_mb=8) as outbox:
            held = numbers(outbox)
        assert held == list(range(1, held[-1] + 1))
        assert held[-1] in (acknowledged, acknowledged + 1)


STEPS = st.lists(
    st.one_of(
        st.just(("put", ())),
        st.tuples(st.just("forget"), st.lists(st.integers(1, 40), max_size=5)),
        st.tuples(st.just("upto"), st.tuples(st.integers(0, 40))),
        st.just(("reopen", ())),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_always_holds_what_was_put_less_what_was_forgotten(
    tmp_path_factory: pytest.TempPathFactory, make_report: Make, steps: list[tuple[str, tuple[int, ...]]]
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "o.sqlite"
    outbox, model, last = Outbox(path, max_mb=8), set[int](), 0
    try:
        for step, seqs in steps:
            if step == "put":
                last += 1
                assert put_one(outbox, make_report) == last
                model.add(last)
            elif step == "forget":
                outbox.forget(seqs)
                model -= set(seqs)
            elif step == "upto":
                known = outbox.acknowledge(outbox.epoch, seqs[0])
                assert (known is None) == (seqs[0] > last)
                model = {seq for seq in model if known is None or seq > seqs[0]}
            else:
                outbox.close()
                outbox = Outbox(path, max_mb=8)
            assert numbers(outbox) == sorted(model)
            assert outbox.next_seq() == last + 1
    finally:
        outbox.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tiny disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tiny disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.requires_root
@pytest.mark.parametrize("size", [10, 3000, 40_000])
def test_on_a_full_disk_reports_can_still_be_forgotten_and_then_new_ones_kept(
    tiny_disk: Path, make_report: Make, size: int
) -> None:
    path, bulky = tiny_disk / "outbox.sqlite", {"slide_id": "s" * size}
    with Outbox(path, max_mb=512) as outbox:
        for _ in range(3):
            with pytest.raises(OutboxFull, match="the disk of the outbox"):
                put_for_ever(outbox, make_report, **bulky)
            assert "is full; free some of it" in outbox.alarms()[0]
            for seq in numbers(outbox):
                outbox.forget([seq])
            assert outbox.count() == 0
        assert put_one(outbox, make_report, **bulky) == outbox.next_seq() - 1


@pytest.mark.requires_root
def test_an_outbox_whose_disk_others_filled_opens_and_gives_its_reports_away(
    tiny_disk: Path, make_report: Make
) -> None:
    path = tiny_disk / "outbox.sqlite"
    with Outbox(path, max_mb=512) as outbox:
        last = [put_one(outbox, make_report, slide_id="s" * 30_000) for _ in range(50)][-1]
    with suppress(OSError), (tiny_disk / "others").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with Outbox(path, max_mb=512) as outbox:
        with pytest.raises(OutboxFull):
            put_for_ever(outbox, make_report)
        outbox.acknowledge(outbox.epoch, last)
        assert numbers(outbox) == list(range(last + 1, outbox.next_seq()))


def test_its_files_are_for_this_user_alone_whatever_the_umask_and_the_folder(tmp_path: Path, make_report: Make) -> None:
    before = os.umask(0)
    try:
        tmp_path.chmod(0o755)
        with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
            put_one(outbox, make_report)
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert {"outbox.sqlite", "outbox.sqlite-wal", "outbox.sqlite.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}
