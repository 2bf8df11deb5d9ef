"""Every way in which a broker refuses an agent: words and a state of its own, nothing lost, all well once mended."""

import datetime as dt
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from contract.messages import FrameReport
from contract.topics import Topics
from devbroker.broker import Broker, find_program
from mqttlink.settings import TlsSettings

Make = Callable[..., FrameReport]
Open = Callable[..., Any]
TOPICS = Topics(prefix="test", site="lab", device="refused")
REPORTS = 5
DAY = dt.timedelta(days=1)


class Authority:
    """Signs certificates, valid or not, into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._write(name, self._name, self._key, until=DAY, authority=True)[0]

    def sign(self, name: str, *, until: dt.timedelta = DAY) -> tuple[Path, Path]:
        """Certificate and key of a host on loopback, valid until then from now."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._write(name, subject, ec.generate_private_key(ec.SECP256R1()), until=until, authority=False)

    def _write(
        self, name: str, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, until: dt.timedelta, authority: bool
    ) -> tuple[Path, Path]:
        now = dt.datetime.now(dt.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now + until)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        if authority:
            usage = dict.fromkeys(
                [
                    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
                    *("key_agreement", "encipher_only", "decipher_only"),
                ],
                False,
            )
            builder = builder.add_extension(x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        paths = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
        return paths


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture
def outbox(tmp_path: Path, make_report: Make) -> Iterator[Outbox]:
    """An outbox with reports that are to arrive."""
    with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
        for seq in range(1, REPORTS + 1):
            outbox.put(make_report(seq, outbox.epoch))
        yield outbox


def publisher_to(broker: Broker, outbox: Outbox, **changes: Any) -> Publisher:
    settings = MqttSettings(host="localhost", port=broker.port, **changes)
    return Publisher(settings, TOPICS, outbox, forget_on="broker", version="1")


def refused(publisher: Publisher, outbox: Outbox) -> tuple[str, str]:
    """State and words of a publisher that is in trouble, with everything still there."""
    deadline = time.monotonic() + 20
    with publisher:
        while publisher.state in {"connecting", "online"} and time.monotonic() < deadline:
            time.sleep(0.01)
        assert outbox.count() == REPORTS
        return publisher.state, publisher.trouble


def delivered(publisher: Publisher, outbox: Outbox) -> bool:
    with publisher:
        return publisher.drain(20) == 0 and publisher.state == "online" and outbox.count() == 0


def tls_lines(ours: Authority, pair: tuple[Path, Path]) -> list[str]:
    return [f"cafile {ours.certificate}", f"certfile {pair[0]}", f"keyfile {pair[1]}"]


def test_a_wrong_password(open_mosquitto: Open, outbox: Outbox, tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    subprocess.run([str(find_program("mosquitto_passwd")), "-c", "-b", file, "scope", "right"], check=True)
    with open_mosquitto(config_lines=["allow_anonymous false", f"password_file {file}"]) as broker:
        state, words = refused(publisher_to(broker, outbox, username="scope", password=SecretStr("wrong")), outbox)
        assert (state, "correct mqtt.username and mqtt.password" in words) == ("login", True)
        assert delivered(publisher_to(broker, outbox, username="scope", password=SecretStr("right")), outbox)


def test_an_authority_that_did_not_sign_the_broker(
    open_mosquitto: Open, ours: Authority, outbox: Outbox, tmp_path: Path
) -> None:
    theirs = Authority(tmp_path, "theirs")
    with open_mosquitto(config_lines=tls_lines(ours, ours.sign("broker"))) as broker:
        state, words = refused(publisher_to(broker, outbox, tls=TlsSettings(ca=theirs.certificate)), outbox)
        assert (state, "set mqtt.tls.ca to the authority that signed it" in words) == ("untrusted", True)
        assert delivered(publisher_to(broker, outbox, tls=TlsSettings(ca=ours.certificate)), outbox)


def test_a_broker_of_another_name(open_mosquitto: Open, ours: Authority, outbox: Outbox) -> None:
    """The certificate is localhost's, not that of its address."""
    with open_mosquitto(config_lines=tls_lines(ours, ours.sign("broker"))) as broker:
        settings = MqttSettings(host="127.0.0.1", port=broker.port, tls=TlsSettings(ca=ours.certificate))
        publisher = Publisher(settings, TOPICS, outbox, forget_on="broker", version="1")
        state, words = refused(publisher, outbox)
        assert (state, "set mqtt.host to a name that it holds" in words) == ("untrusted", True)


def test_a_certificate_of_the_broker_that_has_expired(open_mosquitto: Open, ours: Authority, outbox: Outbox) -> None:
    with open_mosquitto(config_lines=tls_lines(ours, ours.sign("old-broker", until=-DAY))) as broker:
        state, words = refused(publisher_to(broker, outbox, tls=TlsSettings(ca=ours.certificate)), outbox)
        assert (state, "renew it at the broker, or set this computer's clock" in words) == ("expired", True)
        assert "not trusted" not in words


def test_a_certificate_of_the_agent_that_has_expired(open_mosquitto: Open, ours: Authority, outbox: Outbox) -> None:
    lines = [*tls_lines(ours, ours.sign("broker")), "require_certificate true"]
    with open_mosquitto(config_lines=lines) as broker:
        cert, key = ours.sign("old-agent", until=-DAY)
        tls = TlsSettings(ca=ours.certificate, cert=cert, key=key)
        state, words = refused(publisher_to(broker, outbox, tls=tls), outbox)
        assert (state, "renew mqtt.tls.cert" in words) == ("expired", True), words
        cert, key = ours.sign("agent")
        assert delivered(publisher_to(broker, outbox, tls=TlsSettings(ca=ours.certificate, cert=cert, key=key)), outbox)


def test_a_certificate_of_the_agent_by_a_stranger(
    open_mosquitto: Open, ours: Authority, outbox: Outbox, tmp_path: Path
) -> None:
    lines = [*tls_lines(ours, ours.sign("broker")), "require_certificate true"]
    with open_mosquitto(config_lines=lines) as broker:
        cert, key = Authority(tmp_path, "theirs").sign("agent")
        state, words = refused(
            publisher_to(broker, outbox, tls=TlsSettings(ca=ours.certificate, cert=cert, key=key)), outbox
        )
        assert state == "tls"
        assert "mqtt.tls.cert" in words  # how much more the broker's alert tells, if it arrives, is the network's luck


def test_a_topic_that_the_access_list_denies(open_mosquitto: Open, outbox: Outbox, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic write {TOPICS.status}\n")
    with open_mosquitto(config_lines=[f"acl_file {rules}"]) as broker:
        publisher = publisher_to(broker, outbox)
        state, words = refused(publisher, outbox)
        assert (state, "correct its access list" in words) == ("denied", True)
        rules.write_text("topic readwrite #\n")
        os.kill(broker.pid, signal.SIGHUP)
        assert delivered(publisher_to(broker, outbox), outbox)


def test_a_name_that_another_agent_takes_over(
    mosquitto: Broker, outbox: Outbox, make_report: Make, tmp_path: Path
) -> None:
    with publisher_to(mosquitto, outbox) as first, Outbox(tmp_path / "other", max_mb=8) as other:
        assert first.drain(20) == 0
        with publisher_to(mosquitto, other) as second:
            assert second.wait_connected(20)
            deadline = time.monotonic() + 20
            while first.state != "taken_over" and time.monotonic() < deadline:
                time.sleep(0.005)
            assert first.state == "taken_over", first.trouble
            assert "give each a name of its own" in first.trouble
            for seq in range(REPORTS + 1, 2 * REPORTS + 1):
                outbox.put(make_report(seq, outbox.epoch))
        assert first.drain(60) == 0
    assert outbox.count() == 0
