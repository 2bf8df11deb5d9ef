"""The layouts that the tables have had, and the step from each to the next.

1: `cell.probability` was NOT NULL, and a cell that the frame's border cuts was called `uncertain`. 2: `report` had no
columns `withdraws` and `joined`. 3: there was no table `picture`.
"""

import logging
from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError

from collector.tables import IS_CUT, LAYOUT, NOT_JUDGED, cell, meta, metadata, picture, report
from common.errors import UsageError
from contract.messages import FrameReport

log = logging.getLogger(__name__)


class TableSet(NamedTuple):
    """Tables that one program writes, with their layout's number in a table ``meta`` of the columns key and value.

    Attributes:
        metadata: the tables.
        layout: the newest number that this release knows.
        key: of the row that holds the number; it tells these tables from those of another of our programs.
        owner: whose they are, in words.
    """

    metadata: sa.MetaData
    layout: int
    key: str
    owner: str


COLLECTORS = TableSet(metadata, LAYOUT, "layout", "the collector")


def make_tables(connection: sa.Connection) -> None:
    """Make the tables in an empty database, and bring those of an earlier layout to this one.

    Raises:
        UsageError: they are of a later layout, or another program's.
    """
    found = layout_of(connection)
    if not found:
        metadata.create_all(connection)
        connection.execute(sa.insert(meta), {"key": "layout", "value": str(LAYOUT)})
    elif found < LAYOUT:
        log.info("the tables have layout %d; they are brought to layout %d", found, LAYOUT)
        for step in STEPS[found - 1 :]:
            step(connection)
        connection.execute(sa.update(meta).where(meta.c.key == "layout").values(value=str(LAYOUT)))


def layout_of(connection: sa.Connection, of: TableSet = COLLECTORS) -> int:
    """The layout of these tables in the database; 0 if it holds none of their names.

    Raises:
        UsageError: they are of a later layout, or another program's.
    """
    inspector = sa.inspect(connection)
    taken = sorted(of.metadata.tables.keys() & set(inspector.get_table_names()))
    if not taken:
        return 0
    columns = {column["name"] for column in inspector.get_columns("meta")} if "meta" in taken else set()
    wanted = sa.select(meta.c.value).where(meta.c.key == of.key)
    found = connection.scalar(wanted) if columns == {"key", "value"} else None
    if found is None:
        raise UsageError(
            f"database: its tables {', '.join(taken)} are another program's; name a database for {of.owner} alone"
        )
    if found not in map(str, range(1, of.layout + 1)):
        raise UsageError(
            f"the database has layout {found}, this release of {of.owner} knows {of.layout}; install the release that "
            "made it, or name another database"
        )
    return int(found)


def amending_reports(connection: sa.Connection, *only: sa.ColumnElement[bool]) -> Iterator[tuple[int, FrameReport]]:
    """Reports that say something of earlier ones, with the ids of their rows, found without the columns of layout 3.

    Few reports do; they are sought by the text of ``body``, in which every report is read once.

    Args:
        connection: to a database of any layout.
        only: further conditions on the rows.
    """
    amends = sa.or_(_names('"withdraws"', '"withdraws":""'), _names('"joined"', '"joined":null'))
    for number, body in connection.execute(sa.select(report.c.id, report.c.body).where(amends, *only)):
        try:
            message = FrameReport.model_validate_json(body)
        except ValidationError:  # an earlier release took more
            continue
        yield number, message


def _names(key: str, nothing: str) -> sa.ColumnElement[bool]:
    return sa.and_(report.c.body.contains(key), sa.not_(report.c.body.contains(nothing)))


def _to_layout_2(connection: sa.Connection) -> None:
    """Let a cell have no probability, and call those `not_judged` that the border cuts.

    SQLite: the way that its documentation shows for constraints (https://sqlite.org/lang_altertable.html#otheralter),
    which copies no row and leaves the views of others as they are.
    """
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("pragma schema_version").scalar_one()
        connection.exec_driver_sql("pragma writable_schema = on")
        connection.exec_driver_sql(
            "update sqlite_master set sql = replace(sql, 'probability FLOAT NOT NULL', 'probability FLOAT') "
            "where type = 'table' and name = 'cell'"
        )
        connection.exec_driver_sql(f"pragma schema_version = {version + 1}")
        connection.exec_driver_sql("pragma writable_schema = reset")
    else:
        connection.exec_driver_sql("alter table cell alter column probability drop not null")
    connection.execute(sa.update(cell).where(IS_CUT).values(label=NOT_JUDGED, probability=None))


def _to_layout_3(connection: sa.Connection) -> None:
    """Tell in columns what a report says of earlier ones.

    Neither database copies a row for a new column with a default. PostgreSQL keeps the default for the rows that are
    there and drops it for others, so that ``withdraws`` is null where a collector of layout 2 goes on beside this one.
    """
    _add_column(connection, report, "withdraws", "VARCHAR(255) default ''")
    _add_column(connection, report, "joined", "TEXT")
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("alter table report alter column withdraws drop default")
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):  # every body is read once
            connection.exec_driver_sql(f"set local {limit} = 0")
    amending = [{"row": number, **amending_columns(message)} for number, message in amending_reports(connection)]
    if amending:
        connection.execute(sa.update(report).where(report.c.id == sa.bindparam("row")), amending)


def _to_layout_4(connection: sa.Connection) -> None:
    """Make the table of pictures."""
    picture.create(connection, checkfirst=True)


def _add_column(connection: sa.Connection, table: sa.Table, name: str, kind: str) -> None:
    """Add a column, which is there already if it is the layout's number that damage has changed."""
    if name not in {column["name"] for column in sa.inspect(connection).get_columns(table.name)}:
        connection.exec_driver_sql(f"alter table {table.name} add column {name} {kind}")


def amending_columns(message: FrameReport) -> dict[str, str | None]:
    """What a report says of earlier ones, as columns."""
    return {
        "withdraws": message.withdraws,
        "joined": message.joined.model_dump_json() if message.joined else None,
    }


STEPS = (_to_layout_2, _to_layout_3, _to_layout_4)
"""From layout 1 on; each leaves ``meta`` as it is, and does no harm where it was done before."""
