"""The page's user of a fleet's PostgreSQL, by the lines of the installation page: it reads all and changes nothing."""

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from collector import queries
from collector.arrivals import Arrival
from collector.database import open_engine
from collector.picture_rows import picture
from collector.store import Store
from contract.messages import FrameReport
from contract.topics import Topics
from tests.postgres import Cluster

Make = Callable[..., FrameReport]
INSTALL = Path(__file__).parents[2] / "systemd" / "INSTALL.md"
FRAME = Topics(prefix="microscopy", site="lab", device="scope-1").frame


def grant(cluster: Cluster) -> None:
    """What the page says, as the collector's user."""
    lines = INSTALL.read_text(encoding="utf-8").partition("```sql\n")[2].partition("```")[0]
    engine = open_engine(cluster.url)
    with engine.begin() as connection:
        for line in lines.splitlines():
            connection.exec_driver_sql(line)
    engine.dispose()


def store(cluster: Cluster, report: FrameReport) -> None:
    with Store(cluster.url) as opened:
        opened.store([Arrival(FRAME, report.model_dump_json().encode(), datetime.now(timezone.utc))])


@pytest.mark.parametrize("tables", ["there already", "made later"])
def test_the_page_reads_what_is_stored_and_can_write_nothing(cluster: Cluster, make_report: Make, tables: str) -> None:
    if tables == "there already":
        store(cluster, make_report(1))
    grant(cluster)
    store(cluster, make_report(2))
    ours = cluster.url.replace("test@", "page@")
    with queries.reading(ours) as connection:
        assert [frame.seq for frame in queries.frames(connection)][-1] == 2
        assert picture(connection, "none", device="scope-1") is None
    engine = open_engine(ours)
    with pytest.raises(DBAPIError, match="permission denied"), engine.begin() as writing:
        writing.execute(sa.text("delete from report"))
    engine.dispose()
