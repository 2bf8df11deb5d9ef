"""The collector before a broker that asks for TLS, a certificate and a password, and has the docs' access list."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from collector.settings import CollectorSettings
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker, find_program
from mqttlink.settings import BrokerSettings, TlsSettings
from tests.collecting import collecting, stored, until
from tests.faults.test_refused import DAY, Authority

Make = Callable[..., FrameReport]
Open = Callable[..., Any]
PAGE = Path(__file__).parents[2] / "docs" / "mqtt.md"
TOPICS = Topics(prefix="microscopy", site="lab", device="scope-1")
USERS = "scope-1", "collector", "page"


@dataclass(frozen=True)
class Guarded:
    """A broker that lets in whoever has certificate and password; a user's password is the name."""

    broker: Broker
    ours: Authority
    rules: Path

    def tls(self, name: str, **changes: Any) -> TlsSettings:
        cert, key = self.ours.sign(name)
        return TlsSettings(ca=self.ours.certificate, cert=cert, key=key).model_copy(update=changes)

    def login(self, user: str, **changes: Any) -> dict[str, Any]:
        known = {"host": "localhost", "port": self.broker.port, "username": user, "password": SecretStr(user)}
        return {**known, "tls": self.tls(user), **changes}

    def allow(self, rules: str) -> None:
        """Give the broker another access list; it heeds the signal once it has let somebody in."""
        self.rules.write_text(rules)
        os.kill(self.broker.pid, signal.SIGHUP)


def rules_of_the_page() -> str:
    found = re.search(r"```\n(user scope-1\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def guarded(open_mosquitto: Open, tmp_path: Path) -> Iterator[Guarded]:
    with guarded_by(rules_of_the_page(), open_mosquitto, tmp_path) as guarded:
        yield guarded


@contextmanager
def guarded_by(said: str, open_mosquitto: Open, folder: Path) -> Iterator[Guarded]:
    """A broker with this access list."""
    ours, rules, passwords = Authority(folder, "ours"), folder / "acl", folder / "passwords"
    rules.write_text(said)
    passwords.touch(mode=0o600)
    for user in USERS:
        subprocess.run([str(find_program("mosquitto_passwd")), "-b", passwords, user, user], check=True)
    cert, key = ours.sign("broker")
    lines = [f"cafile {ours.certificate}", f"certfile {cert}", f"keyfile {key}", "require_certificate true"]
    lines += ["allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}"]
    with open_mosquitto(config_lines=lines) as broker:
        yield Guarded(broker, ours, rules)


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'collected.sqlite'}"


def settings_for(guarded: Guarded, database: str, **changes: Any) -> CollectorSettings:
    return CollectorSettings(database=database, mqtt=BrokerSettings(**guarded.login("collector", **changes)))


@contextmanager
def agent(guarded: Guarded, folder: Path) -> Iterator[Outbox]:
    """An agent's outbox, and the publisher that empties it once the collector has stored."""
    settings = MqttSettings(**guarded.login("scope-1"))
    with (
        Outbox(folder / "outbox.sqlite", max_mb=8) as outbox,
        Publisher(settings, TOPICS, outbox, forget_on="consumer", version="1"),
    ):
        yield outbox


def test_it_stores_and_acknowledges(guarded: Guarded, database: str, make_report: Make, tmp_path: Path) -> None:
    with agent(guarded, tmp_path) as outbox, collecting(settings_for(guarded, database)):
        for seq in range(1, 21):
            outbox.put(make_report(seq, outbox.epoch))
        assert until(lambda: outbox.count() == 0)
        assert stored(database) == [("scope-1", outbox.epoch, seq) for seq in range(1, 21)]


def wrong(guarded: Guarded, case: str, folder: Path) -> dict[str, Any]:
    """Settings with one thing wrong."""
    theirs = Authority(folder, "theirs")
    old = dict(zip(("cert", "key"), guarded.ours.sign("old", until=-DAY), strict=True))
    strange = dict(zip(("cert", "key"), theirs.sign("stranger"), strict=True))
    cases: dict[str, dict[str, Any]] = {
        "authority": {"tls": guarded.tls("collector", ca=theirs.certificate)},
        "password": {"password": SecretStr("wrong")},
        "no password": {"password": None},
        "no certificate": {"tls": TlsSettings(ca=guarded.ours.certificate)},
        "old certificate": {"tls": guarded.tls("collector", **old)},
        "strange certificate": {"tls": guarded.tls("collector", **strange)},
        "host": {"host": "127.0.0.1"},
        "no tls": {"tls": None},
    }
    return cases[case]


WORDS = {
    "authority": "set mqtt.tls.ca to the authority that signed it",
    "password": "refused user collector: Not authorized (135); correct mqtt.username and mqtt.password",
    "no password": "refused user collector: Not authorized (135); no password is set; correct mqtt.username and",
    "no certificate": "set mqtt.tls.cert and mqtt.tls.key to a pair that the broker's authority signed",
    "old certificate": "renew mqtt.tls.cert",
    "strange certificate": "mqtt.tls.cert",
    "host": "set mqtt.host to a name that it holds",
    "no tls": "with TLS, or without, as mqtt.tls says",
}


@pytest.mark.parametrize("case", WORDS)
def test_it_says_what_is_wrong_and_goes_on_trying(
    guarded: Guarded, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    settings = settings_for(guarded, database, **wrong(guarded, case, tmp_path))
    with collecting(settings, wait=False) as collector:
        assert until(lambda: "localhost" in caplog.text or "127.0.0.1" in caplog.text)
        assert not collector.ready
    said = next(record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert WORDS[case] in said


def test_where_it_may_not_acknowledge_it_stores_and_says_so_until_it_may(
    open_mosquitto: Open, database: str, make_report: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = rules_of_the_page()
    less = whole.replace("topic write microscopy/v1/+/+/ack\n", "")
    with (
        guarded_by(less, open_mosquitto, tmp_path) as guarded,
        agent(guarded, tmp_path) as outbox,
        collecting(settings_for(guarded, database)),
    ):
        outbox.put(make_report(1, outbox.epoch))
        assert until(
            lambda: "topic microscopy/v1/+/+/ack: Not authorized (135); correct its access list" in caplog.text
        )
        assert "reports are stored, but the agents are not told" in caplog.text
        assert stored(database) == [("scope-1", outbox.epoch, 1)]
        assert outbox.count() == 1
        guarded.allow(whole)
        outbox.put(make_report(2, outbox.epoch))
        assert until(lambda: outbox.count() == 0)


def test_where_it_may_not_read_it_says_that_nothing_comes(
    open_mosquitto: Open, database: str, make_report: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker confirms the subscription all the same."""
    less = rules_of_the_page().replace("topic read microscopy/v1/#\n", "")
    with (
        guarded_by(less, open_mosquitto, tmp_path) as guarded,
        agent(guarded, tmp_path) as outbox,
        collecting(settings_for(guarded, database)),
    ):
        outbox.put(make_report(1, outbox.epoch))
        assert until(lambda: "keeps user collector from reading" in caplog.text)
        assert outbox.count() == 1


def test_a_password_is_in_no_line_of_the_log(guarded: Guarded, database: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level("DEBUG"),
        collecting(settings_for(guarded, database, password=SecretStr("hush")), wait=False),
    ):
        assert until(lambda: "refused user collector" in caplog.text)
        time.sleep(0.2)
    assert "hush" not in caplog.text
