"""The publisher over TLS, against real brokers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from common.errors import BrokerError, UsageError
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker
from mqttlink.probe import probe
from mqttlink.settings import TlsSettings
from tests.certificates import certificates_in, tls_lines
from tests.publishing import publisher_to, put

Make = Callable[..., FrameReport]
Open = Callable[..., Any]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities, `ours` and `theirs`, and from ours a pair for a broker and one for an agent."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    return certificates_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def mutual_tls(open_mosquitto: Open, certificates: Path, passwords: Path) -> Iterator[Broker]:
    """A broker that asks for a certificate and a password."""
    login = ["allow_anonymous false", f"password_file {passwords}"]
    with open_mosquitto(config_lines=[*tls_lines(certificates), "require_certificate true", *login]) as broker:
        yield broker


def test_mutual_tls_with_a_password_carries_reports(
    mutual_tls: Broker, certificates: Path, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    tls = TlsSettings(ca=certificates / "ours.crt", cert=certificates / "agent.crt", key=certificates / "agent.key")
    login = {"username": "scope", "password": SecretStr("right")}
    with publisher_to(mutual_tls, topics, outbox, tls=tls, **login) as publisher:
        put(outbox, make_report, 50)
        assert publisher.drain(20) == 0, publisher.trouble


def test_tls_faults_are_told_apart(open_mosquitto: Open, certificates: Path) -> None:
    lines = [*tls_lines(certificates), "require_certificate true"]
    with open_mosquitto(config_lines=lines) as broker:
        ours = certificates / "ours.crt"
        for tls, words in (
            (TlsSettings(ca=certificates / "theirs.crt"), r"not trusted .*mqtt\.tls\.ca"),
            (TlsSettings(ca=ours), r"mqtt\.tls\.cert and mqtt\.tls\.key"),
            (None, "with TLS, or without"),
        ):
            with pytest.raises(BrokerError, match=words):
                probe(MqttSettings(port=broker.port, tls=tls), 5)
    with open_mosquitto() as plain, pytest.raises(BrokerError, match=r"TLS with .* failed"):
        probe(MqttSettings(port=plain.port, tls=TlsSettings(ca=ours)), 2)


def test_a_certificate_that_is_missing_or_no_certificate_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mqtt\.tls\.ca: .*absent can not be read"):
        probe(MqttSettings(tls=TlsSettings(ca=tmp_path / "absent")), 1)
    (tmp_path / "ca").write_text("hello")
    with pytest.raises(UsageError, match="must be PEM"):
        probe(MqttSettings(tls=TlsSettings(ca=tmp_path / "ca")), 1)
