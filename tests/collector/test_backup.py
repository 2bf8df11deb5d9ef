"""The back-ups of docs/collector.md: taken while it collects, whole, and good to go on from."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.export import status
from collector.settings import CollectorSettings
from contract.messages import FrameReport
from devbroker.broker import Broker
from mqttlink.settings import BrokerSettings
from tests.collecting import Agent, agent_on, collecting, stored, until
from tests.postgres import Cluster

Make = Callable[..., FrameReport]
PAGE = Path(__file__).parents[2] / "docs" / "collector.md"


def command_of_the_page(program: str, **places: str) -> str:
    """The line of the page's section on back-ups that starts so, with other places."""
    found = re.search(rf"^{program} .*/backup/.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    line = found[0]
    for said, meant in places.items():
        assert said in line
        line = line.replace(said, meant)
    return line


def settings_for(broker: Broker, database: str) -> CollectorSettings:
    mqtt = BrokerSettings(port=broker.port, prefix="backup")
    return CollectorSettings(name="backup", mqtt=mqtt, database=database)


def put_while(agent: Agent, process: "subprocess.Popen[bytes]") -> None:
    """The agent reports on and on, until the process has ended well."""
    while process.poll() is None:
        agent.put(5)
    assert process.returncode == 0


def test_an_sqlite_database_is_copied_while_it_is_written_and_the_copy_goes_on(
    mosquitto: Broker, make_report: Make, tmp_path: Path
) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("the command sqlite3 is not installed (apt install sqlite3)")
    file, copy = tmp_path / "collected.sqlite", tmp_path / "copy.sqlite"
    places = {"/var/lib/microscope-collect/collector.sqlite": str(file), "/backup/collector.sqlite": str(copy)}
    settings = settings_for(mosquitto, f"sqlite:///{file}")
    with agent_on(mosquitto, tmp_path, make_report, prefix="backup", device="scope") as agent:
        with collecting(settings):
            agent.put(200)
            assert agent.has_forgotten_all()
            with subprocess.Popen(["sh", "-c", command_of_the_page("sqlite3", **places)]) as process:
                put_while(agent, process)
            agent.put(20)
            assert agent.has_forgotten_all()
        kept, last = stored(f"sqlite:///{copy}"), len(agent.made)
        assert 200 <= len(kept) < last
        assert kept == agent.made[: len(kept)]
        file.unlink()
        copy.rename(file)
        with collecting(settings) as collector:
            agent.put(1)
            assert until(lambda: collector.totals.new == 1)
    assert f"missing: {len(kept) + 1}-{last};" in next(iter(status(settings.database)))


def test_a_server_is_dumped_while_it_is_written_and_the_dump_restores(
    mosquitto: Broker, make_report: Make, tmp_path: Path, cluster: Cluster
) -> None:
    copied = f"postgresql://test@/copy?host={cluster.folder}"
    dump = tmp_path / "collected.dump"
    places = {"postgresql://user@host/name": cluster.url, "/backup/collector.dump": str(dump)}
    environment = {**os.environ, "PATH": os.pathsep.join([str(cluster.programs), os.environ["PATH"]])}
    with (
        agent_on(mosquitto, tmp_path, make_report, prefix="backup", device="scope-2") as agent,
        collecting(settings_for(mosquitto, cluster.url)),
    ):
        agent.put(200)
        assert agent.has_forgotten_all()
        with subprocess.Popen(["sh", "-c", command_of_the_page("pg_dump", **places)], env=environment) as process:
            put_while(agent, process)
    subprocess.run(["createdb", f"--maintenance-db={cluster.url}", "copy"], env=environment, check=True)
    subprocess.run(["pg_restore", f"--dbname={copied}", str(dump)], env=environment, check=True)
    kept = stored(copied)
    assert len(kept) >= 200
    assert kept == agent.made[: len(kept)]
    assert f"{len(kept)} reports up to {len(kept)}" in next(iter(status(copied)))
