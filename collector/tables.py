"""The tables.

An integrator may read every table; only the collector writes them.
"""

from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from contract.labels import Label

LAYOUT = 4
"""The number of these tables; ``collector.layouts`` describes the earlier ones."""
SINCE = "since_layout"
"""In ``info`` of a column or a table: the first layout that has it."""
Row: TypeAlias = dict[str, Any]

_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up only in an INTEGER key
_Moment = sa.DateTime(timezone=True)
metadata = sa.MetaData()

meta = sa.Table(
    "meta", metadata, sa.Column("key", sa.String(64), primary_key=True), sa.Column("value", sa.Text, nullable=False)
)

report = sa.Table(
    "report",
    metadata,
    sa.Column("id", _Number, primary_key=True, autoincrement=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("epoch", sa.String(255), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("site", sa.String(255), nullable=False),
    sa.Column("slide_id", sa.String(255), nullable=False),
    sa.Column("frame_id", sa.String(255), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("captured_at", _Moment, nullable=False),
    sa.Column("received_at", _Moment, nullable=False),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("model_id", sa.String(255), nullable=False),
    sa.Column("engine", sa.String(255), nullable=False),
    sa.Column("cells", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("withdraws", sa.String(255), nullable=True, info={SINCE: 3}),
    sa.Column("joined", sa.Text, nullable=True, info={SINCE: 3}),
    sa.UniqueConstraint("device", "epoch", "seq", name="report_key"),
    sa.Index("report_slide", "slide_id", "captured_at"),
)
"""One row for each report, which stands whole in ``body``. The site is no part of the key: a device that moves
keeps its outbox, and what waits there must not count twice. ``withdraws`` and ``joined`` (JSON; null if absent) are
what the report says of earlier ones; ``withdraws`` is null where a collector of an earlier layout has stored the row,
and then only ``body`` holds both."""

cell = sa.Table(
    "cell",
    metadata,
    sa.Column("report_id", _Number, sa.ForeignKey("report.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("cell_id", sa.String(255), nullable=False),
    sa.Column("object_id", sa.String(255), nullable=False),
    sa.Column("x", sa.Integer, nullable=False),
    sa.Column("y", sa.Integer, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("area_um2", sa.Float, nullable=False),
    sa.Column("label", sa.String(32), nullable=False),
    sa.Column("probability", sa.Float, nullable=True),
    sa.Column("flags", sa.Text, nullable=False),
)

NOT_JUDGED: Label = "not_judged"
IS_CUT = (sa.literal(" ") + cell.c.flags + " ").contains(" edge ")
"""Of a row of ``cell``: the frame's border cuts the cell."""

stream = sa.Table(
    "stream",
    metadata,
    sa.Column("device", sa.String(255), primary_key=True),
    sa.Column("epoch", sa.String(255), primary_key=True),
    sa.Column("site", sa.String(255), nullable=False),
    sa.Column("upto", sa.BigInteger, nullable=False),
    sa.Column("floor", sa.BigInteger, nullable=False),
    sa.Column("received_at", _Moment, nullable=False),
)
"""One row for each outbox that was heard: ``upto`` is what was acknowledged, and at or below ``floor`` the agent
holds nothing any more, so that what is missing there can not come."""

slide = sa.Table(
    "slide",
    metadata,
    sa.Column("device", sa.String(255), primary_key=True),
    sa.Column("slide_id", sa.String(255), primary_key=True),
    sa.Column("count_id", sa.String(255), primary_key=True),
    sa.Column("site", sa.String(255), nullable=False),
    sa.Column("received_at", _Moment, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
"""The newest summary of each count of a slide."""

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", _Number, primary_key=True, autoincrement=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("cause", sa.String(16), nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("times", _Number, nullable=False),
    sa.Column("first_at", _Moment, nullable=False),
    sa.Column("last_at", _Moment, nullable=False),
)
"""What could not be stored. ``cause``: `malformed`, `refused` (by the database), or `conflict` (a report whose key
another report has; these are kept forever, for the agent forgets them)."""


picture = sa.Table(
    "picture",
    metadata,
    sa.Column("id", _Number, primary_key=True, autoincrement=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("captured_at", _Moment, nullable=False),
    sa.Column("fetched_at", _Moment, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("media_type", sa.String(64), nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("um_per_pixel", sa.Float, nullable=False),
    sa.Column("box", sa.Text, nullable=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("device", "kind", "name", name="picture_key"),
    sa.Index("picture_age", "captured_at", "bytes"),
    info={SINCE: 4},
)
"""Pictures that were fetched from agents: `kind` is `cell` (`name` is its `cell_id`) or `frame` (its id). `box` is the
cell's in the picture, JSON. A row of 0 bytes says that the agent has no such picture, or none any more."""


def insert_into(connection: sa.Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """An insert that knows ON CONFLICT, in the dialect of the database."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
