"""Whatever byte of an outbox changes, the agent starts, whole reports are rescued, and no number is given twice."""

import json
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire.outbox import Outbox
from common.errors import OutboxError
from contract.messages import FrameReport

Make = Callable[..., FrameReport]
REPORTS, LONG = 12, 7
PAGE = 4096
HEADER = range(100)
SCHEMA = range(3600, PAGE)
"""Where SQLite's description of the tables stands."""


@dataclass(frozen=True)
class Store:
    """An outbox as an agent left it: its files, what is in it, and where each report lies."""

    files: dict[str, bytes] = field(repr=False)  # a large one would be complained of in place of a fault
    epoch: str
    bodies: dict[int, bytes] = field(repr=False)

    def put_into(self, folder: Path, changes: Iterable[tuple[int, int]] = (), *, file: str = "o.sqlite") -> Path:
        """Its files in a folder that is theirs, with these bytes changed."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in self.files.items():
            spoilt = bytearray(content)
            for place, value in changes if name == file else ():
                spoilt[place % len(spoilt)] ^= value
            (folder / name).write_bytes(spoilt)
        return folder / "o.sqlite"


def put(outbox: Outbox, make_report: Make, count: int = REPORTS) -> None:
    for number in range(1, count + 1):
        report = make_report(outbox.next_seq(), outbox.epoch)
        cells = report.cells * (40 if number == LONG else 1)  # longer than a page
        outbox.put(report.model_copy(update={"cells": cells}))


def store_of(path: Path, outbox: Outbox) -> Store:
    files = {
        file.name: file.read_bytes() for file in path.parent.iterdir() if file.name in {path.name, f"{path.name}-wal"}
    }
    return Store(files, outbox.epoch, {FrameReport.model_validate_json(b).seq: b for _, b in outbox.pending(0, 1000)})


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, make_report: Make) -> Store:
    """As after an end in order."""
    path = tmp_path_factory.mktemp("closed") / "o.sqlite"
    with Outbox(path, max_mb=8) as outbox:
        put(outbox, make_report)
    with Outbox(path, max_mb=8) as outbox:
        return store_of(path, outbox)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, make_report: Make) -> Store:
    """As after a kill: half of the reports stand in the log."""
    path = tmp_path_factory.mktemp("killed") / "o.sqlite"
    with Outbox(path, max_mb=8) as outbox:
        put(outbox, make_report)
    with Outbox(path, max_mb=8) as outbox:
        put(outbox, make_report)
        store = store_of(path, outbox)
    assert len(store.files) == 2
    return store


def check(store: Store, path: Path, make_report: Make, *, lost: int) -> None:
    """Open it: all but so many are there, those that are whole as they were, and the next number is a new one."""
    with Outbox(path, max_mb=8) as outbox:
        held = [body for _, body in outbox.pending(0, 1000)]
        whole = sum(body in held for body in store.bodies.values())
        assert whole >= len(store.bodies) - lost, f"{whole} of {len(store.bodies)}"
        seq = outbox.next_seq()
        outbox.put(make_report(seq, outbox.epoch))
        assert outbox.epoch != store.epoch or seq > max(store.bodies)
        assert outbox.acknowledge(outbox.epoch, seq)


def each_offset(store: Store, folder: Path, make_report: Make, *, step: int) -> int:
    """One byte changed at a time; how many were tried."""
    chance = random.Random(step)  # noqa: S311 - a test
    size = len(store.files["o.sqlite"])
    offsets = sorted({*HEADER, *SCHEMA[:: 1 + step // 40], *range(0, size, step)})
    for offset in offsets:
        path = store.put_into(folder, [(offset, value := chance.randrange(1, 256))])
        try:
            check(store, path, make_report, lost=offset >= PAGE)
        except Exception as fault:
            raise AssertionError(f"offset {offset}, changed by {value:#x}: {fault!r}") from fault
    return len(offsets)


@pytest.mark.parametrize("step", [211, pytest.param(1, marks=pytest.mark.soak)])
def test_whatever_byte_changes_all_reports_but_the_one_it_belongs_to_are_kept(
    closed: Store, tmp_path: Path, make_report: Make, step: int
) -> None:
    assert each_offset(closed, tmp_path / "o", make_report, step=step) > 200


@pytest.mark.parametrize("step", [997, pytest.param(7, marks=pytest.mark.soak)])
def test_likewise_where_the_log_of_a_killed_agent_stands_beside_it(
    killed: Store, tmp_path: Path, make_report: Make, step: int
) -> None:
    assert each_offset(killed, tmp_path / "o", make_report, step=step) > 100


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 300))
def test_whatever_bytes_change_it_starts_and_gives_no_number_twice(
    tmp_path_factory: pytest.TempPathFactory, closed: Store, make_report: Make, seed: int, count: int
) -> None:
    """Where nothing shows any more what the file is, it says so."""
    chance = random.Random(seed)  # noqa: S311 - a test
    changes = [(chance.randrange(2**20), chance.randrange(1, 256)) for _ in range(count)]
    path = closed.put_into(tmp_path_factory.mktemp("spoilt") / "o", changes)
    header = path.read_bytes()[:100]
    try:
        check(closed, path, make_report, lost=len(closed.bodies))
    except OutboxError:
        assert header[:16] != b"SQLite format 3\0"


def test_a_damaged_one_that_held_rescued_reports_is_rescued_again(
    closed: Store, tmp_path: Path, make_report: Make
) -> None:
    """Of two epochs now; each report keeps its own."""
    path = closed.put_into(tmp_path / "o", [(68, 1)])  # the stamp
    with Outbox(path, max_mb=8) as outbox:
        put(outbox, make_report, 3)
        twice = store_of(path, outbox)
    for offset in (*HEADER, *range(0, len(twice.files["o.sqlite"]), 499)):
        path = twice.put_into(tmp_path / "o", [(offset, 0x11)])
        with Outbox(path, max_mb=8) as outbox:
            held = [json.loads(body) for _, body in outbox.pending(0, 1000)]
            names = [(report["epoch"], report["seq"]) for report in held]
            assert len(set(names)) == len(names) >= REPORTS + 3 - 1, offset
            assert sum(epoch == closed.epoch for epoch, _ in names) >= REPORTS - 1, offset


def test_what_was_never_an_outbox_is_not_moved(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    for content in (b"patient list\n" * 500, b"\x89PNG" + bytes(9000), random.Random(1).randbytes(9000)):  # noqa: S311
        path.write_bytes(content)
        with pytest.raises(OutboxError, match="not a database"):
            Outbox(path, max_mb=8)
        assert path.read_bytes() == content


def test_reports_are_rescued_in_order_each_once_though_nothing_leads_to_them(closed: Store, tmp_path: Path) -> None:
    path = closed.put_into(tmp_path / "o")
    content = bytearray(path.read_bytes())
    for page in range(PAGE, len(content), PAGE):
        if content[page] == 5:  # the tree's inner page
            content[page : page + PAGE] = bytes(PAGE)
    content[100:PAGE] = bytes(PAGE - 100)  # the schema
    path.write_bytes(content * 2)
    with Outbox(path, max_mb=8) as outbox:
        assert [body for _, body in outbox.pending(0, 1000)] == list(closed.bodies.values())
