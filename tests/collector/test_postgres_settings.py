"""A PostgreSQL that was set up for its own country, or for other programs: the collector speaks with it as with any."""

import io
import subprocess
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from collector import tables
from collector.database import open_engine
from collector.export import export, status
from collector.store import Store
from common.errors import UsageError
from contract.messages import FrameReport
from tests.postgres import Cluster, new_cluster
from tests.storing import frame

Make = Callable[..., FrameReport]
Sql = Callable[..., str]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with new_cluster() as cluster:
        cluster.start()
        yield cluster


@pytest.fixture(scope="module")
def sql(server: Cluster) -> Sql:
    """Ask the server something: ``sql(statement, database)``."""

    def ask(statement: str, database: str = "postgres") -> str:
        words = ["psql", "-h", str(server.folder), "-U", "test", "-qtAc", statement, database]
        done = subprocess.run([server.programs / words[0], *words[1:]], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return ask


def address(server: Cluster, database: str, more: str = "") -> str:
    return f"postgresql://test@/{database}?host={server.folder}{more}"


@pytest.mark.parametrize(
    ("name", "setting"),
    [("zone", "timezone = 'Asia/Tokyo'"), ("german", "datestyle = 'German, DMY'"), ("sql", "datestyle = SQL")],
)
def test_times_are_utc_and_read_however_the_database_is_set(
    server: Cluster, sql: Sql, make_report: Make, name: str, setting: str
) -> None:
    sql(f"create database {name}")
    sql(f"alter database {name} set {setting}")
    url, out = address(server, name), io.StringIO()
    with Store(url) as store:
        assert store.store([frame(make_report(1))]).new == 1
    assert "last 2026-01-31 12:00:00 UTC" in next(status(url))
    export(url, "reports", form="csv", slide_id=None, out=out)
    assert ",2026-01-31T12:00:00.000Z," in out.getvalue()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_an_encoding_that_can_not_hold_every_name_is_refused_at_the_start(
    server: Cluster, sql: Sql, encoding: str
) -> None:
    name = encoding.lower()
    sql(f"create database {name} encoding '{encoding}' template template0")
    with Store(address(server, name)) as store, pytest.raises(UsageError, match=f"encoding is {encoding}.*UTF8"):
        store.open()
    with pytest.raises(UsageError, match=f"encoding is {encoding}"):
        list(status(address(server, name)))
    assert sql("select count(*) from information_schema.tables where table_name = 'report'", name) == "0"


def test_options_in_the_address_are_kept_beside_ours(server: Cluster, sql: Sql, make_report: Make) -> None:
    sql("create database shared")
    sql("create schema lab", "shared")
    url = address(server, "shared", "&options=-csearch_path%3Dlab%20-ctimezone%3DAsia/Tokyo&application_name=ours")
    with Store(url) as store:
        store.store([frame(make_report(1))])
        shown = {name: store.open().exec_driver_sql(f"show {name}").scalar() for name in ("lock_timeout", "timezone")}
        assert shown == {"lock_timeout": "5s", "timezone": "UTC"}
    assert sql("select table_schema from information_schema.tables where table_name = 'report'", "shared") == "lab"
    assert "1 report up to 1" in next(status(url))


def test_who_reads_can_not_write(server: Cluster, sql: Sql, make_report: Make) -> None:
    sql("create database read")
    with Store(address(server, "read")) as store:
        store.store([frame(make_report(1))])
    engine = open_engine(address(server, "read"), writes=False)
    with engine.connect() as connection, pytest.raises(sa.exc.InternalError, match="read-only"):
        connection.execute(sa.delete(tables.report))
    engine.dispose()
