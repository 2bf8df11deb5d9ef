"""The databases that every test of the store runs on, and agents to collect from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_disk_full import tiny_disk
from tests.faults.test_network import wire
from tests.postgres import Cluster, new_cluster

__all__ = ["tiny_disk", "wire"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Address of a server for all tests that leave it running; skipped where PostgreSQL is not installed."""
    with new_cluster() as cluster:
        cluster.start()
        yield cluster.url


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A server of this test's own, running."""
    with new_cluster() as cluster:
        cluster.start()
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty database of either make."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'collector.sqlite'}"
    return _empty(str(request.getfixturevalue("postgresql")))


def _empty(address: str) -> str:
    import psycopg  # noqa: PLC0415 - optional

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    return address
