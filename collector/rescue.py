"""Puts what can be read of a damaged SQLite file into a new one, which takes its place; the damaged file is kept."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from collector import database, rows, tables
from collector.arrivals import Arrival
from collector.store import Store
from common.carve import Row, open_pages
from common.errors import StoreError, UsageError
from contract.messages import FrameReport, SlideSummary

_BATCH = 500
_SHARED = 0x40000002, 510
"""Where SQLite locks a file that somebody has open: position and length."""
_QUARANTINE = [column.name for column in tables.quarantine.c]
_SLIDE = len(tables.slide.c)


def rescue(url: str) -> Iterator[str]:
    """Make a new file of what can be read, and let it change places with the damaged one.

    Yields:
        Lines for the user.

    Raises:
        UsageError: this database is no file, is open elsewhere, or is sound.
        StoreError: it can not be read, or the new one not be written.
    """
    file = database.file_of(database.open_engine(url))
    if file is None:
        raise UsageError("database: only an SQLite file is rescued so; restore a server's from its back-up")
    try:
        _refuse(file)
        fresh = _beside(file, ".rescuing")
        for leftover in (fresh, _beside(fresh, "-wal"), _beside(fresh, "-shm")):
            leftover.unlink(missing_ok=True)
        counts = _refill(file, fresh)
        aside = _exchange(file, fresh)
    except OSError as cause:
        raise StoreError(f"{file} can not be rescued ({cause.strerror}); see that its folder can be written") from cause
    yield ", ".join(f"{count} {what}" for what, count in counts.items()) + f" were rescued into {file}"
    yield f"the damaged file is kept: {aside}; what it held beyond that is lost, unless a back-up has it"


def _refuse(file: Path) -> None:
    with file.open("r+b") as held:
        try:
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED[1], _SHARED[0])
        except BlockingIOError as cause:
            raise UsageError(f"{file} is open in another program; stop the collector first") from cause
    with (
        suppress(*database.FAULTS, sqlite3.Error),
        closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as old,
    ):
        layout = int(old.execute("select value from meta where key = 'layout'").fetchone()[0])
        for name, table in tables.metadata.tables.items():
            if table.info.get(tables.SINCE, 1) > layout:
                continue
            expected = (column.name for column in table.c if column.info.get(tables.SINCE, 1) <= layout)
            columns = ", ".join(f"[{column}]" for column in expected)  # a damaged schema may call one otherwise
            old.execute(f"select {columns} from [{name}] limit 1").fetchone()  # noqa: S608 - our own names
        if old.execute("pragma quick_check(1)").fetchone() == ("ok",):
            raise UsageError(f"{file} is sound; nothing was done")


def _refill(file: Path, fresh: Path) -> dict[str, int]:
    """Store everything again that the pages hold."""
    reports = 0
    slides: list[Arrival] = []
    quarantined: list[tables.Row] = []
    with open_pages(file) as pages, Store(f"sqlite:///{fresh}") as store:
        found = _arrivals(pages.rows(), slides, quarantined)
        while batch := list(islice(found, _BATCH)):
            reports += store.store(batch).new
        if slides:
            store.store(sorted(slides, key=lambda slide: slide.at))
        connection = store.open()
        with connection.begin():
            rows.insert_quarantine(connection, quarantined, most=len(quarantined) + 1)
    with fresh.open("rb") as written:
        os.fsync(written.fileno())
    return {"reports": reports, "summaries of slides": len(slides), "rows of the quarantine": len(quarantined)}


def _arrivals(found: Iterator[Row], slides: list[Arrival], quarantined: list[tables.Row]) -> Iterator[Arrival]:
    """Reports, as they came; what else there is is put aside."""
    for row in found:
        texts = [value for value in row.values if isinstance(value, str)]
        body = next((text for text in texts if text.startswith("{")), "")
        at = _latest(texts)
        if report := _report(body):
            yield Arrival(f"rescued/v1/{report.site}/{report.device}/frame", body.encode(), at)
        elif len(row.values) == len(texts) == _SLIDE and _is_slide(body):
            slides.append(Arrival(f"rescued/v1/{texts[3]}/{texts[0]}/slide", body.encode(), at))
        elif len(row.values) == len(_QUARANTINE) and len(texts) >= len(_QUARANTINE) - 3:
            quarantined.extend(_quarantine_row(row.values))


def _report(body: str) -> FrameReport | None:
    with suppress(ValidationError):
        return FrameReport.model_validate_json(body)
    return None


def _is_slide(body: str) -> bool:
    with suppress(ValidationError):
        return bool(SlideSummary.model_validate_json(body))
    return False


def _quarantine_row(values: Sequence[object]) -> Iterator[tables.Row]:
    row = dict(zip(_QUARANTINE, values, strict=True))
    first, last = (_moment(row[name]) for name in ("first_at", "last_at"))
    text = all(isinstance(row[name], str) for name in ("digest", "cause", "topic", "error"))
    if text and first and last and isinstance(row["payload"], bytes) and isinstance(row["times"], int):
        yield {name: value for name, value in row.items() if name != "id"} | {"first_at": first, "last_at": last}


def _latest(texts: Sequence[str]) -> datetime:
    """When a message was received: the last moment in its row."""
    moments = [moment for text in texts if (moment := _moment(text))]
    return moments[-1] if moments else datetime.now(timezone.utc)


def _moment(value: object) -> datetime | None:
    with suppress(ValueError):
        if isinstance(value, str) and value[:2] == "20":
            return datetime.fromisoformat(value).replace(tzinfo=timezone.utc)
    return None


def _exchange(file: Path, fresh: Path) -> Path:
    aside = _beside(file, f".damaged-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}")
    for suffix in ("-wal", "-shm", ""):  # a log that stayed would be taken for the new file's
        with suppress(FileNotFoundError):
            _beside(file, suffix).rename(_beside(aside, suffix))
    fresh.rename(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return aside


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
