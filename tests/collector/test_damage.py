"""Whatever byte of the collector's file changes, it says so in words or goes on, and what is whole can be rescued."""

import io
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path

import pytest

from collector.arrivals import Arrival
from collector.export import export, status
from collector.rescue import rescue
from collector.store import Store
from common.errors import MicroscopeError, UsageError
from contract.messages import FrameReport
from tests.collecting import stored
from tests.waiting import until

Make = Callable[..., FrameReport]
NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
REPORTS = 20
PAGE = 4096
ROOT = "microscopy/v1/lab/scope-1"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make_report: Make) -> bytes:
    """A file with reports, one of them longer than a page, and a row of the quarantine."""
    path = tmp_path_factory.mktemp("whole") / "c.sqlite"
    with Store(f"sqlite:///{path}") as store:
        for seq in range(1, REPORTS + 1):
            report = make_report(seq)
            cells = report.cells * (40 if seq == REPORTS // 2 else 1)
            body = report.model_copy(update={"cells": cells}).model_dump_json().encode()
            store.store([Arrival(f"{ROOT}/frame", body, NOW)])
        store.store([Arrival(f"{ROOT}/frame", b"{", NOW)])
    return path.read_bytes()


def offsets_of(content: bytes, step: int) -> Iterator[int]:
    """Every ``step`` th byte; of zeros that fill the rest of a page, where nothing stands, few."""
    for offset in range(0, len(content), step):
        if any(content[max(0, offset - 8) : offset + 8]) or offset % 512 < step:
            yield offset


def use(url: str, report: FrameReport) -> None:
    """What a collector and its user do."""
    with suppress(MicroscopeError), Store(url) as store:
        store.store([Arrival(f"{ROOT}/frame", report.model_dump_json().encode(), NOW)])
    with suppress(MicroscopeError):
        list(status(url))
    for what in ("reports", "cells", "slides"):
        for form in ("csv", "jsonl"):
            with suppress(MicroscopeError):
                export(url, what, form=form, slide_id=None, out=io.StringIO())


def held(path: Path) -> set[int]:
    """Numbers of the reports that are whole."""
    with closing(sqlite3.connect(path)) as database:
        database.text_factory = bytes
        bodies = [body for (body,) in database.execute("select body from report")]
    found = set()
    for body in bodies:
        with suppress(ValueError):
            found.add(FrameReport.model_validate_json(body).seq)
    return found


@pytest.mark.parametrize("step", [1009, pytest.param(1, marks=pytest.mark.soak)])
def test_whatever_byte_changes_nothing_but_words_comes_of_it_and_the_rest_is_rescued(
    whole: bytes, tmp_path: Path, make_report: Make, step: int
) -> None:
    chance = random.Random(step)  # noqa: S311 - a test
    path = tmp_path / "c.sqlite"
    tried = rescued = 0
    for offset in sorted({*range(0, 100, 1 + step // 100), *offsets_of(whole, step)}):
        spoilt = bytearray(whole)
        spoilt[offset] ^= (value := chance.randrange(1, 256))
        for file in tmp_path.iterdir():
            file.unlink()
        path.write_bytes(spoilt)
        try:
            use(f"sqlite:///{path}", make_report(REPORTS + 1))
            with suppress(UsageError):  # it is sound: what was changed is a value
                list(rescue(f"sqlite:///{path}"))
                rescued += 1
            assert len(held(path) & set(range(1, REPORTS + 1))) >= REPORTS - 1
        except Exception as fault:
            raise AssertionError(f"offset {offset}, changed by {value:#x}: {fault!r}") from fault
        tried += 1
    assert 0 < rescued < tried


def test_what_is_rescued_is_as_it_was_and_the_damaged_file_is_kept(
    whole: bytes, tmp_path: Path, make_report: Make
) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(whole)
    with closing(sqlite3.connect(path)) as database:
        before = database.execute("select * from report").fetchall()
        quarantine = database.execute("select * from quarantine").fetchall()
    spoilt = whole[:100] + bytes(PAGE - 100) + whole[PAGE:]  # nothing leads to any table
    path.write_bytes(spoilt)
    said = list(rescue(f"sqlite:///{path}"))
    assert said[0].startswith(f"{REPORTS} reports, 0 summaries of slides, 1 rows of the quarantine were rescued")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("select * from report").fetchall() == before
        assert database.execute("select * from quarantine").fetchall() == quarantine
    [aside] = tmp_path.glob("*.damaged-*Z")
    assert aside.read_bytes() == spoilt
    assert str(aside) in said[1]
    with Store(f"sqlite:///{path}") as store:
        again = store.store([Arrival(f"{ROOT}/frame", make_report(1).model_dump_json().encode(), NOW)])
    assert (again.new, again.again) == (0, 1)
    assert until(lambda: len(stored(f"sqlite:///{path}")) == REPORTS)


def test_a_sound_file_and_one_that_is_in_use_are_left_alone(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(whole)
    with pytest.raises(UsageError, match="is sound; nothing was done"):
        list(rescue(f"sqlite:///{path}"))
    holder = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('select * from meta'); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UsageError, match="stop the collector first"):
            list(rescue(f"sqlite:///{path}"))
        other.communicate(b"\n")
    assert list(tmp_path.glob("*.damaged*")) == []
    with pytest.raises(UsageError, match="restore a server's"):
        list(rescue("postgresql://nobody@127.0.0.1/db"))
