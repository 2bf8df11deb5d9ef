"""The tables of the reviews, in a database of their own.

An integrator may read every table; only ``dashboard.reviews`` writes them. Rows of ``verdict`` and ``act`` are appended
and never changed: what was taken back is named by a later row.
"""

import sqlalchemy as sa

from collector.layouts import TableSet, layout_of

_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up only in an INTEGER key
_Moment = sa.DateTime(timezone=True)
_Name = sa.String(255)
metadata = sa.MetaData()

meta = sa.Table(
    "meta", metadata, sa.Column("key", sa.String(64), primary_key=True), sa.Column("value", sa.Text, nullable=False)
)

slide = sa.Table(
    "slide",
    metadata,
    sa.Column("id", _Number, primary_key=True, autoincrement=True),
    sa.Column("site", _Name, nullable=False),
    sa.Column("device", _Name, nullable=False),
    sa.Column("slide_id", _Name, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("site", "device", "slide_id", name="slide_key"),
)
"""One row for each slide that was reviewed. ``version`` counts its changes; who writes counts it up first, and so waits
for whoever else writes of the same slide."""


def _of_slide() -> sa.Column[int]:
    return sa.Column("slide", _Number, sa.ForeignKey("slide.id"), nullable=False)


shown = sa.Table(
    "shown",
    metadata,
    sa.Column("slide", _Number, sa.ForeignKey("slide.id"), primary_key=True),
    sa.Column("reviewer", _Name, primary_key=True),
    sa.Column("reading", sa.String(16), primary_key=True),
    sa.Column("object_id", _Name, primary_key=True),
    sa.Column("first_at", _Moment, nullable=False),
    sa.Column("last_at", _Moment, nullable=False),
    sa.Column("cell_id", _Name, nullable=False),
    sa.Column("label", sa.String(64), nullable=False),
    sa.Column("probability", sa.Float, nullable=True),
    sa.Column("model_id", _Name, nullable=False),
)
"""One row for each cell that was on a reviewer's screen, with what the model said of it when it was last there."""

verdict = sa.Table(
    "verdict",
    metadata,
    sa.Column("id", _Number, primary_key=True, autoincrement=True),
    _of_slide(),
    sa.Column("object_id", _Name, nullable=False),
    sa.Column("reviewer", _Name, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("reading", sa.String(16), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("label", sa.String(64), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", _Moment, nullable=False),
    sa.Column("call_id", sa.String(64), nullable=False),
    sa.Column("undoes", _Number, sa.ForeignKey("verdict.id"), nullable=True),
    sa.Column("seen_cell_id", _Name, nullable=False),
    sa.Column("seen_label", sa.String(64), nullable=False),
    sa.Column("seen_probability", sa.Float, nullable=True),
    sa.Column("seen_model_id", _Name, nullable=False),
    sa.Column("upto", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("call_id", "object_id", name="verdict_call"),
    sa.Index("verdict_slide", "slide", "id"),
)
"""One row for each verdict, and for each undo, which names the verdict that it takes back. ``call_id`` is the browser's
name of the call, so that a resend is stored once; ``upto`` is the record's when it was given."""

act = sa.Table(
    "act",
    metadata,
    sa.Column("id", _Number, primary_key=True, autoincrement=True),
    _of_slide(),
    sa.Column("reading", sa.String(16), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("person", _Name, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("takes_back", _Number, sa.ForeignKey("act.id"), nullable=True),
    sa.Column("at", _Moment, nullable=False),
    sa.Column("call_id", sa.String(64), nullable=False, unique=True),
    sa.Column("upto", sa.BigInteger, nullable=False),
    sa.Column("last_verdict", sa.BigInteger, nullable=False),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Index("act_slide", "slide", "id"),
)
"""What was done with a reading as a whole: `begin`, `release`, `unseal`, `sign`, `withdraw`. A signature holds its
``statement`` (JSON) with the SHA-256 of it, and the number of the slide's last verdict when it was made."""

REVIEWS = TableSet(metadata, layout=1, key="reviews_layout", owner="the reviews")


def make_tables(connection: sa.Connection) -> bool:
    """Make the tables in an empty database; returns whether they were missing.

    Raises:
        UsageError: the database holds tables of a later layout, or another program's.
    """
    if layout_of(connection, REVIEWS):
        return False
    metadata.create_all(connection)
    connection.execute(sa.insert(meta), {"key": REVIEWS.key, "value": str(REVIEWS.layout)})
    return True
