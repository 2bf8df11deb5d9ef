"""`microscope-collect` as a person meets it: what it stores, shows and writes, and what it says when it can not."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from agent.wire.outbox import Outbox
from collector.arrivals import Arrival
from collector.settings import load
from collector.store import Store
from common.errors import UsageError
from contract.messages import FrameReport
from devbroker.broker import Broker, find_program
from tests.collecting import stored, until

Make = Callable[..., FrameReport]
PIPED: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "collected.sqlite"


def collect(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "collector", "--log", "WARNING", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_stores_ends_in_order_and_shows_what_it_has(
    mosquitto: Broker, tmp_path: Path, make_report: Make
) -> None:
    folder = tmp_path / "made for one user"
    address = f"sqlite:///{folder / 'collected.sqlite'}"
    command = [sys.executable, "-m", "collector", "--port", str(mosquitto.port), "--database", address]
    command += ["--set", "mqtt.prefix=test", "--set", "device=shown", "--set", "name=shown"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, umask=0o022) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "connected" in line:
                break
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        time.sleep(0.2)  # the subscription follows the welcome
        bodies = [make_report(seq, device="shown").model_dump_json().encode() for seq in (1, 2, 4)]
        program = str(find_program("mosquitto_pub"))
        publish = [program, "-V", "mqttv5", "-p", str(mosquitto.port), "-q", "1", "-t", "test/v1/lab/shown/frame", "-l"]
        subprocess.run(publish, input=b"\n".join([*bodies, b"{", b""]), check=True)
        assert until(lambda: [seq for _, _, seq in stored(address)] == [1, 2, 4])
        process.send_signal(signal.SIGTERM)
        assert "stored 3 reports" in process.stderr.read()
        assert process.wait(10) == 0
    status = collect("--database", address, "status").stdout
    assert "3 reports up to 4, acknowledged up to 2, missing: 3;" in status
    assert "quarantine: 1 malformed" in status
    out = tmp_path / "reports.jsonl"
    assert collect("--database", address, "export", "reports", "--form", "jsonl", "--out", str(out)).returncode == 0
    assert [FrameReport.model_validate_json(line).seq for line in out.read_text().splitlines()] == [1, 2, 4]
    cells = collect("--database", address, "export", "cells", "--slide", "slide-7").stdout.splitlines()
    assert cells[0].startswith("site,device,epoch,seq,slide_id,frame_id")
    assert len(cells) == 4
    assert len(collect("--database", address, "export", "cells", "--slide", "none").stdout.splitlines()) == 1


def test_a_missing_database_is_told_and_not_made(path: Path) -> None:
    told = collect("--database", f"sqlite:///{path}", "status")
    assert (told.returncode, path.exists()) == (4, False)
    assert "there is no database" in told.stderr


@pytest.mark.parametrize("place", [0, 1])
def test_settings_may_stand_before_a_command_and_after_it(place: int, path: Path, tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(f'database = "sqlite:///{path}"\n')
    words = ["status"]
    words[place:place] = ["--config", str(config), "--set", "name=elsewhere"]
    assert f"there is no database {path};" in collect(*words).stderr


def test_a_setting_before_a_command_counts_beside_one_after_it(path: Path) -> None:
    told = collect("--set", "mqtt.hots=x", "status", "--set", f"database=sqlite:///{path}")
    assert "there is no setting 'mqtt.hots'" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "mqtt.hots=x"), "nearest is 'mqtt.host'"),
        (("--port", "many"), "the setting mqtt.port"),
        (("--database", "nonsense"), "write sqlite:///"),
        (("--database", "postgresql://lab:hush@host:many/db"), "in a password %40 for @, %2F for /"),
        (("--database", "mysql://lab@host/db"), "mysql is not supported; write sqlite:// or postgresql://"),
        (("--database", "postgresql+psycopg2://lab@host/db"), "psycopg2 is not supported; write"),
        (("--database", "sqlite://"), "what is stored in memory is lost; write sqlite:////folder/file.sqlite"),
        (("--database", "sqlite:///:memory:"), "what is stored in memory is lost"),
        (("--database", "sqlite:////proc/none/file.sqlite"), "the folder /proc/none can not be made (No such file"),
        (("--database", "sqlite:////usr"), "/usr is a folder; name a file in it"),
        (("--config", "absent.toml"), "absent.toml can not be read"),
        (("--set", "mqtt.tls.ca=absent.pem"), r"mqtt.tls.ca: absent.pem can not be read"),
        (("--host", ""), "mqtt.host is empty"),
    ],
)
def test_what_can_not_be_used_is_refused_in_words(arguments: tuple[str, ...], words: str, path: Path) -> None:
    told = collect("--database", f"sqlite:///{path}", *arguments)
    assert told.returncode == 2, told.stderr
    assert words in told.stderr
    assert "Traceback" not in told.stderr
    assert "hush" not in told.stderr


def test_a_place_that_this_user_may_not_write_is_refused(tmp_path: Path) -> None:
    """Root may write everywhere but in a few places of the kernel's."""
    readonly = Path("/proc/sys") if os.geteuid() == 0 else tmp_path
    tmp_path.chmod(0o500)
    if os.access(readonly, os.W_OK):
        pytest.skip("this user may write everywhere here")
    told = collect("--database", f"sqlite:///{readonly}/file.sqlite")
    assert told.returncode == 2, told.stderr
    assert f"this user may not write {readonly}; let it, or name another place" in told.stderr


def test_what_is_no_database_is_left_alone_and_told(path: Path) -> None:
    path.write_text("the diary of a technician\n" * 50)
    told = collect("--database", f"sqlite:///{path}")
    assert told.returncode == 5, told.stderr
    assert "file is not a database" in told.stderr
    assert "put the newest back-up in its place, or move the file away" in told.stderr
    assert path.read_text().startswith("the diary")


def test_a_database_that_is_damaged_ends_the_collector_and_is_left_alone(
    mosquitto: Broker, path: Path, make_report: Make
) -> None:
    bodies = [make_report(seq).model_dump_json().encode() for seq in range(1, 101)]
    with Store(f"sqlite:///{path}") as store:
        now = datetime.now(timezone.utc)
        store.store([Arrival("microscopy/v1/lab/scope-1/frame", body, now) for body in bodies])
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    before = path.read_bytes()
    told = collect("--database", f"sqlite:///{path}", "--port", str(mosquitto.port), "--set", "mqtt.prefix=damaged")
    assert told.returncode == 5, told.stderr
    assert "is malformed); nothing is acknowledged: put the newest back-up in its place" in told.stderr
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone_and_told(path: Path) -> None:
    """The agent's outbox lies in the folder where a person might look for the collector's file."""
    with Outbox(path, max_mb=8) as outbox:
        epoch = outbox.epoch
    before = path.read_bytes()
    told = collect("--database", f"sqlite:///{path}")
    assert told.returncode == 2, told.stderr
    assert "its tables meta, report are another program's; name a database for the collector alone" in told.stderr
    assert path.read_bytes() == before
    with Outbox(path, max_mb=8) as outbox:
        assert outbox.epoch == epoch


def test_a_journal_that_another_program_chose_stays(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table diary (line text)")
        database.execute("create table report (line text)")
    before = path.read_bytes()
    for command in ((), ("status",)):
        assert "tables report are another program's" in collect("--database", f"sqlite:///{path}", *command).stderr
    assert path.read_bytes() == before


def test_a_server_that_does_not_run_is_told_at_the_start_and_waited_for(mosquitto: Broker) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql)")
    command = [sys.executable, "-m", "collector", "--port", str(mosquitto.port), "--set", "name=waits"]
    with subprocess.Popen([*command, "--database", "postgresql://lab:hush@127.0.0.1:1/db"], **PIPED) as process:
        assert process.stderr is not None
        said = [process.stderr.readline(), process.stderr.readline()]
        process.send_signal(signal.SIGTERM)
        said += process.stderr.readlines()
        assert process.wait(10) == 0
    assert "Connection refused" in said[0]
    assert "nothing is acknowledged until it can: see that it runs" in said[0]
    assert "connected to the broker" in said[1]
    assert "hush" not in "".join(said)


def test_without_the_driver_a_server_is_refused_with_what_to_install() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None; sys.argv = ['microscope-collect', '--database', 'postgresql://x/y']\n"
        "from collector.entry import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "psycopg is not installed; pip install -c constraints.txt '.[postgresql]'" in done.stderr


@pytest.mark.parametrize("command", [("status",), ("export", "reports")])
def test_an_empty_database_is_told_and_not_filled(path: Path, command: tuple[str, ...]) -> None:
    path.touch()
    told = collect("--database", f"sqlite:///{path}", *command)
    assert told.returncode == 4, told.stderr
    assert "is empty; correct --database, or start the collector first" in told.stderr
    assert path.stat().st_size == 0


def test_a_reader_that_has_seen_enough_is_no_error(path: Path, make_report: Make) -> None:
    with Store(f"sqlite:///{path}") as store:
        body = make_report(1).model_dump_json().encode()
        store.store([Arrival("microscopy/v1/lab/scope-1/frame", body, datetime.now(timezone.utc))])
    ours = f"{sys.executable} -m collector --database sqlite:///{path} export reports --form jsonl"
    done = subprocess.run(["bash", "-c", f"{ours} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True, check=False)
    assert (done.returncode, done.stderr.count(b"Traceback")) == (0, 0), done.stderr


@pytest.mark.parametrize("folder", ["absent", "file"])
def test_credentials_that_can_not_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / folder))
    with pytest.raises(UsageError, match=f"CREDENTIALS_DIRECTORY: {tmp_path / folder} can not be read"):
        load()


def test_the_command_line_beats_the_environment_beats_credentials_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "collect.toml"
    file.write_text('name = "file"\nsite = "file"\nmqtt = {host = "file", username = "file", prefix = "file"}\n')
    (tmp_path / "credentials").mkdir()
    for name in ("mqtt.password", "mqtt.host", "mqtt.username", "site"):
        (tmp_path / "credentials" / name).write_text("credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    monkeypatch.setenv("MICROSCOPE_COLLECT_MQTT__HOST", "environment")
    monkeypatch.setenv("MICROSCOPE_COLLECT_SITE", "environment")
    settings = load(file, {"site": "line"})
    assert (settings.site, settings.mqtt.host, settings.mqtt.username, settings.mqtt.prefix, settings.name) == (
        *("line", "environment", "credential", "file", "file"),
    )
    assert "credential" not in repr(settings.mqtt.password)


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROSCOPE_COLLECT_DATABSE", "sqlite://")
    with pytest.raises(UsageError, match="nearest is 'database'"):
        load()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:GE7HEIM@127.0.0.1:1/db",
        "postgresql://u@127.0.0.1:1/db?password=GE7HEIM",
        "postgresql://u@127.0.0.1:1/db?sslpassword=GE7HEIM",
        "postgresql://u@127.0.0.1:1/db?nosuch=GE7HEIM",
        "postgresql://u@127.0.0.1:1/db?options=-cx%3DGE7HEIM",
        "postgresql://u@127.0.0.1:1/db?dbname=user%3Du+password%3DGE7HEIM",
        "postgresql://u:a/GE7HEIM@127.0.0.1:1/db",
        "postgresql://u:a@GE7HEIM@127.0.0.1:1/db",
        "postgresql://127.0.0.1:GE7HEIM/db",
        "postgres://u:GE7HEIM@127.0.0.1:1/db",
        "postgresql:/u:GE7HEIM@127.0.0.1/db",
        "host=127.0.0.1 password=GE7HEIM",
        "sqlite:////nowhere/c.sqlite?password=GE7HEIM",
    ],
)
def test_no_password_is_shown_that_stands_in_the_database_s_address(address: str) -> None:
    pytest.importorskip("psycopg")
    done = collect("status", "--log", "DEBUG", "--database", address)
    assert done.returncode in {2, 4}
    assert "database" in done.stderr
    assert "GE7HEIM" not in done.stderr + done.stdout


@pytest.mark.parametrize("query", ["?password=GE7HEIM", "?sslpassword=GE7HEIM", "?dbname=x+password%3DGE7HEIM", ""])
def test_nor_does_the_log_of_a_collector_that_waits_for_it(mosquitto: Broker, query: str) -> None:
    pytest.importorskip("psycopg")
    command = [sys.executable, "-m", "collector", "--log", "DEBUG", "--port", str(mosquitto.port)]
    address = f"postgresql://u:GE7HEIM@127.0.0.1:1/db{query}"
    with subprocess.Popen([*command, "--database", address], **PIPED) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "can not be used" in line:
                process.send_signal(signal.SIGTERM)
    assert "127.0.0.1:1/db" in said
    assert "GE7HEIM" not in said
