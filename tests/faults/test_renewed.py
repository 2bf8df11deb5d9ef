"""What we log in with is renewed on disk while the programs run: the next connection shows the new."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.settings import MqttSettings
from agent.wire.outbox import Outbox
from agent.wire.publisher import Publisher
from collector.settings import CollectorSettings
from common.errors import UsageError
from contract.messages import FrameReport
from devbroker.broker import find_program
from mqttlink.client import ClientFactory
from mqttlink.settings import BrokerSettings, TlsSettings
from tests.collecting import collecting, until
from tests.faults.test_refused import TOPICS, Authority, tls_lines

Make = Callable[..., FrameReport]
Open = Callable[..., Any]


def put_in_place(pair: tuple[Path, Path], cert: Path, key: Path) -> None:
    for new, old in zip(pair, (cert, key), strict=True):
        shutil.copy(new, f"{old}.new")
        Path(f"{old}.new").replace(old)


def test_agent_and_collector_show_the_certificate_that_has_taken_the_place_of_one_that_is_not_trusted(
    open_mosquitto: Open, tmp_path: Path, make_report: Make
) -> None:
    """The authority too: at first they know another's."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    ours, theirs = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "theirs", "theirs")
    ca, cert, key = (tmp_path / name for name in ("ca.crt", "client.crt", "client.key"))
    shutil.copy(theirs.certificate, ca)
    put_in_place(theirs.sign("client"), cert, key)
    tls = TlsSettings(ca=ca, cert=cert, key=key)
    lines = [*tls_lines(ours, ours.sign("broker")), "require_certificate true"]
    with open_mosquitto(config_lines=lines) as broker, Outbox(tmp_path / "outbox", max_mb=8) as outbox:
        outbox.put(make_report(1, outbox.epoch, device="refused"))
        mqtt = {"host": "localhost", "port": broker.port, "tls": tls, "prefix": "test"}
        settings = CollectorSettings(
            name="renewed", mqtt=BrokerSettings(**mqtt), database=f"sqlite:///{tmp_path / 'c.sqlite'}"
        )
        publisher = Publisher(MqttSettings(**mqtt), TOPICS, outbox, forget_on="consumer", version="1")
        with publisher, collecting(settings, wait=False) as collector:
            assert until(lambda: publisher.state == "untrusted")
            shutil.copy(ours.certificate, ca)
            assert until(lambda: publisher.state == "tls", 30), publisher.trouble
            put_in_place(ours.sign("client"), cert, key)
            assert until(lambda: publisher.state == "online", 30), publisher.trouble
            assert until(lambda: collector.ready, 30)
            assert until(lambda: outbox.count() == 0, 90), "sent again by then, though nobody listened at first"


def test_a_password_that_was_changed_is_read_before_the_next_connection(
    open_mosquitto: Open, tmp_path: Path, make_report: Make
) -> None:
    file = tmp_path / "passwords"
    subprocess.run([str(find_program("mosquitto_passwd")), "-c", "-b", file, "scope", "right"], check=True)
    word = ["wrong"]
    with (
        open_mosquitto(config_lines=["allow_anonymous false", f"password_file {file}"]) as broker,
        Outbox(tmp_path / "outbox", max_mb=8) as outbox,
    ):
        outbox.put(make_report(1, outbox.epoch))

        def settings() -> MqttSettings:
            return MqttSettings(port=broker.port, username="scope", password=SecretStr(word[0]))

        with Publisher(settings(), TOPICS, outbox, forget_on="broker", version="1", renewed=settings) as publisher:
            assert until(lambda: publisher.state == "login")
            word[0] = "right"
            assert publisher.drain(30) == 0, publisher.trouble


def test_while_a_renewal_is_half_done_what_was_read_before_is_used_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = Authority(tmp_path, "ours")
    first, second = ours.sign("first"), ours.sign("second")
    cert, key = tmp_path / "client.crt", tmp_path / "client.key"
    put_in_place(first, cert, key)
    factory = ClientFactory(BrokerSettings(tls=TlsSettings(ca=ours.certificate, cert=cert, key=key)), "x", largest=1024)
    before = factory.client()._ssl_context
    shutil.copy(second[0], cert)
    assert factory.client()._ssl_context is before
    assert "what was read before is used on" in caplog.text
    factory.client()
    assert caplog.text.count("used on") == 1
    shutil.copy(second[1], key)
    assert factory.client()._ssl_context is not before
    key.unlink()
    factory.client()
    assert caplog.text.count("used on") == 2


def test_at_the_start_what_can_not_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mqtt\.tls\.cert: .* can not be read"):
        ClientFactory(BrokerSettings(tls=TlsSettings(cert=tmp_path / "absent")), "x", largest=1024)
    with pytest.raises(UsageError, match=r"mqtt\.host is empty"):
        ClientFactory(BrokerSettings(host=""), "x", largest=1024)


@pytest.mark.parametrize(("written", "host"), [("[::1]", "::1"), ("::1", "::1"), ("broker", "broker"), ("[", "[")])
def test_an_address_may_stand_in_brackets(written: str, host: str) -> None:
    assert BrokerSettings(host=written).host == host
