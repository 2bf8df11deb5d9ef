"""The courier against real brokers: what is promised on the wire, and what happens when things break."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr
from typing_extensions import Self

from agent.settings import MqttSettings
from agent.wire.broker import Broker, find_program, open_broker
from agent.wire.courier import Courier
from agent.wire.outbox import Outbox
from agent.wire.visit import probe
from contract.connection import TlsSettings
from contract.errors import BrokerError, UsageError
from contract.messages import FrameReport, Health, Topics

Make = Callable[..., FrameReport]
Open = Callable[..., Any]
Agent = Callable[..., AbstractContextManager["subprocess.Popen[bytes]"]]

SERVE = """
import sys, time
from pathlib import Path
from agent.wire.courier import Courier
from agent.wire.outbox import Outbox
from agent.settings import MqttSettings
from contract.messages import FrameReport, Topics

path, port, device, forget_on, pattern, total = sys.argv[1:]
report = FrameReport.model_validate_json(pattern)
topics = Topics(prefix="test", site="lab", device=device)
with Outbox(Path(path), max_mb=8) as outbox:
    with Courier(MqttSettings(port=int(port)), topics, outbox, forget_on=forget_on, version="1") as courier:
        assert courier.wait_connected(10), courier.trouble
        while outbox.next_seq() <= int(total):
            outbox.put(report.model_copy(update={"epoch": outbox.epoch, "seq": outbox.next_seq()}))
            time.sleep(0.002)
        print("done", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """A name of its own for each test's agent, so that tests can share a broker."""
    return str(request.node.name).replace("[", "-").replace("]", "")[:64]


@pytest.fixture
def topics(device: str) -> Topics:
    return Topics(prefix="test", site="lab", device=device)


@pytest.fixture
def agent(tmp_path: Path, device: str, make_report: Make) -> Agent:
    """An agent in a process of its own, killed at the end: ``agent(broker, total=N, forget_on=...)``."""

    @contextmanager
    def start(broker: Broker, *, total: int, forget_on: str = "broker") -> Iterator["subprocess.Popen[bytes]"]:
        pattern = make_report(device=device).model_dump_json()
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, tmp_path / "o", str(broker.port), device, forget_on, pattern, str(total)],
            stdout=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    return start


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
        yield outbox


def courier_to(broker: Broker | int, topics: Topics, outbox: Outbox, **changes: Any) -> Courier:
    port = broker if isinstance(broker, int) else broker.port
    forget_on = changes.pop("forget_on", "broker")
    return Courier(MqttSettings(port=port, **changes), topics, outbox, forget_on=forget_on, version="1.2.3")


def put(outbox: Outbox, make_report: Make, count: int) -> list[int]:
    seqs = list(range(outbox.next_seq(), outbox.next_seq() + count))
    for seq in seqs:
        outbox.put(make_report(seq, outbox.epoch))
    return seqs


def until(truth: Callable[[], Any], timeout_s: float = 20) -> bool:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not truth() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(truth())


def acknowledge(broker: Broker, topics: Topics, payload: str) -> None:
    publish(broker, topics.ack, payload)


def publish(broker: Broker, topic: str, payload: str) -> None:
    program = str(find_program("mosquitto_pub"))
    subprocess.run([program, "-p", str(broker.port), "-q", "1", "-t", topic, "-m", payload], check=True)


def seqs_of(messages: list[dict[str, Any]]) -> list[int]:
    return [json.loads(message["payload"])["seq"] for message in messages]


def health_of(frames: int) -> Health:
    return Health(at=datetime.now(timezone.utc), frames=frames, refused=0, cells=0, queued=0, engine="darkness")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# What is on the wire.


def test_reports_arrive_in_order_valid_and_marked(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, topics.frame)
    with courier_to(mosquitto, topics, outbox) as courier:
        seqs = put(outbox, make_report, 200)
        messages = listener.take(200)
        assert courier.drain(10) == 0
        assert outbox.count() == 0
    assert seqs_of(messages) == seqs
    schema = Draft202012Validator(FrameReport.model_json_schema(mode="serialization"))
    for message in messages:
        schema.validate(json.loads(message["payload"]))
        assert (message["qos"], message["retain"]) == (1, 0)
        assert message["properties"]["content-type"] == "application/json"
        assert message["properties"]["user-properties"] == {"schema_version": "1"}


def test_status_is_online_while_it_runs_and_stopped_after_an_orderly_end(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox
) -> None:
    with courier_to(mosquitto, topics, outbox) as courier:
        assert courier.wait_connected(10)
        assert courier.alive
        online = subscribe(mosquitto, topics.status).next()
    assert (online["retain"], json.loads(online["payload"])["state"]) == (1, "online")
    assert json.loads(online["payload"])["version"] == "1.2.3"
    stopped = subscribe(mosquitto, topics.status).next()
    assert (stopped["retain"], json.loads(stopped["payload"])["state"]) == (1, "stopped")
    assert not courier.alive


def test_an_end_before_the_brokers_welcome_is_an_orderly_end(topics: Topics, outbox: Outbox) -> None:
    """A fault on the courier's thread would be a warning, and so an error here."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with courier_to(mute.getsockname()[1], topics, outbox) as courier:
            caller, _ = mute.accept()
        caller.close()
        assert not courier.alive


def test_stopped_comes_after_the_last_report(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, f"{topics.root}/#")
    with courier_to(mosquitto, topics, outbox) as courier:
        put(outbox, make_report, 30)
        courier.drain(10)
        courier.health(health_of(30))
    names = [message["topic"].rsplit("/", 1)[-1] for message in listener.take(33)]
    assert names == ["status", *["frame"] * 30, "health", "status"]


def test_a_killed_agent_is_offline_by_its_will(
    mosquitto: Broker, subscribe: Open, topics: Topics, agent: Agent
) -> None:
    listener = subscribe(mosquitto, topics.status)
    with agent(mosquitto, total=1) as process:
        assert json.loads(listener.next()["payload"])["state"] == "online"
        process.kill()
        assert json.loads(listener.next()["payload"])["state"] == "offline"


def test_the_latest_health_is_retained_and_said_again_after_a_reconnect(
    open_mosquitto: Open, subscribe: Open, topics: Topics, outbox: Outbox
) -> None:
    with open_mosquitto() as broker, courier_to(broker, topics, outbox) as courier:
        assert courier.wait_connected(10)
        courier.health(health_of(1))
        courier.health(health_of(2))
        listener = subscribe(broker, topics.health)
        message = listener.next()
        while json.loads(message["payload"])["frames"] != 2:
            message = listener.next()
        listener.close()
        os.kill(broker.pid, signal.SIGKILL)
        assert until(lambda: courier.trouble)
        with open_mosquitto(port=broker.port) as again:
            assert until(lambda: not courier.trouble)
            assert json.loads(subscribe(again, topics.health).next()["payload"])["frames"] == 2


def test_speaks_mqtt_3_1_1_with_the_broker_in_python(topics: Topics, outbox: Outbox, make_report: Make) -> None:
    with open_broker(allow=["embedded"]) as broker:
        assert broker.version == "3.1.1"
        with courier_to(broker, topics, outbox, version="3.1.1") as courier:
            put(outbox, make_report, 50)
            assert courier.drain(20) == 0
        assert outbox.count() == 0
        assert probe(MqttSettings(port=broker.port, version="3.1.1"), 5).endswith("3.1.1")


def test_an_old_subscriber_reads_what_a_courier_without_mqtt_5_sends(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, topics.frame, "-V", "mqttv311")
    with courier_to(mosquitto, topics, outbox, version="3.1.1"):
        put(outbox, make_report, 5)
        messages = listener.take(5)
    assert [FrameReport.model_validate_json(message["payload"]).seq for message in messages] == [1, 2, 3, 4, 5]


# Nothing is lost.


def test_waits_for_a_broker_that_is_not_there_yet(
    open_mosquitto: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    port = free_port()
    with courier_to(port, topics, outbox) as courier:
        put(outbox, make_report, 3)
        assert not courier.wait_connected(0.3)
        assert "nothing listens" in courier.trouble
        assert courier.drain(0.1) == 3
        with open_mosquitto(port=port):
            assert courier.wait_connected(20)
            assert courier.drain(10) == 0
            assert courier.trouble == ""


def test_an_agent_may_end_while_the_broker_is_away(topics: Topics, outbox: Outbox, make_report: Make) -> None:
    with courier_to(free_port(), topics, outbox):
        put(outbox, make_report, 3)
    assert outbox.count() == 3


def test_what_a_killed_broker_had_not_answered_is_sent_to_the_next_one(
    open_mosquitto: Open, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    """The broker hangs with a full window in flight, dies, and comes back empty."""
    with ExitStack() as house, Cable() as cable:
        first = house.enter_context(open_mosquitto())
        cable.plug_into(first.port)
        courier = house.enter_context(courier_to(cable.port, topics, outbox, window=16))
        assert courier.wait_connected(10)
        os.kill(first.pid, signal.SIGSTOP)
        seqs = put(outbox, make_report, 50)
        assert courier.drain(0.5) == 50
        cable.pull_out()
        os.kill(first.pid, signal.SIGKILL)
        with open_mosquitto() as second:
            listener = subscribe(second, topics.frame)
            cable.plug_into(second.port)
            messages = listener.take(50)
            assert seqs_of(messages) == seqs
            assert courier.drain(10) == 0
        assert outbox.count() == 0


def test_a_cable_pulled_again_and_again_loses_nothing(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, topics.frame)
    with Cable() as cable:
        cable.plug_into(mosquitto.port)
        with courier_to(cable.port, topics, outbox) as courier:
            for _ in range(4):
                assert until(courier_is_connected(courier))
                put(outbox, make_report, 100)
                cable.pull_out()
                cable.plug_into(mosquitto.port)
            assert courier.drain(20) == 0
    seen: set[int] = set()
    while len(seen) < 400:
        seen.update(seqs_of([listener.next()]))
    assert seen == set(range(1, 401))


def test_with_acknowledging_consumers_neither_agent_nor_broker_can_lose_a_report(
    open_mosquitto: Open, subscribe: Open, topics: Topics, agent: Agent
) -> None:
    """Agent and broker are killed in turn; the consumer acknowledges what it has without gaps, and gets all."""
    total, port, seen = 600, free_port(), set[int]()
    epoch = ""
    for death in ("agent", "broker", "agent", "broker", "none"):
        with open_mosquitto(port=port) as broker:
            listener = subscribe(broker, topics.frame)
            with agent(broker, total=total, forget_on="consumer") as process:
                goal = total if death == "none" else min(total, len(seen) + 100)
                while len(seen) < goal:
                    report = json.loads(listener.next()["payload"])
                    seen.add(report["seq"])
                    epoch = report["epoch"]
                if death == "broker":
                    os.kill(broker.pid, signal.SIGKILL)
                upto = next(number for number in range(total + 1) if number + 1 not in seen)
                if death != "broker":
                    acknowledge(broker, topics, json.dumps({"epoch": epoch, "upto": upto}))
                process.kill()
            listener.close()
    assert seen == set(range(1, total + 1))


def test_a_consumers_acknowledgement_empties_the_outbox(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    listener = subscribe(mosquitto, topics.frame)
    with courier_to(mosquitto, topics, outbox, forget_on="consumer") as courier:
        put(outbox, make_report, 20)
        listener.take(20)
        assert courier.drain(10) == 0
        assert outbox.count() == 20
        acknowledge(mosquitto, topics, json.dumps({"epoch": outbox.epoch, "upto": 15}))
        assert until(lambda: outbox.count() == 5)


def test_acknowledgements_of_others_and_nonsense_change_nothing(
    mosquitto: Broker, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    with courier_to(mosquitto, topics, outbox, forget_on="consumer") as courier:
        put(outbox, make_report, 5)
        assert courier.drain(10) == 0
        acknowledge(mosquitto, topics, json.dumps({"epoch": "another", "upto": 5}))
        acknowledge(mosquitto, topics, "not json")
        acknowledge(mosquitto, topics, json.dumps({"epoch": outbox.epoch, "upto": 10**9}))
        acknowledge(mosquitto, topics, json.dumps({"epoch": outbox.epoch, "upto": 2}))
        assert until(lambda: outbox.count() == 3)
        assert courier.ignored_acks == 3
        assert courier.alive


def test_what_no_consumer_acknowledged_is_sent_again_after_a_restart(
    mosquitto: Broker, subscribe: Open, topics: Topics, outbox: Outbox, make_report: Make
) -> None:
    with courier_to(mosquitto, topics, outbox, forget_on="consumer") as courier:
        put(outbox, make_report, 5)
        assert courier.drain(10) == 0
    listener = subscribe(mosquitto, topics.frame)
    with courier_to(mosquitto, topics, outbox, forget_on="consumer"):
        assert seqs_of(listener.take(5)) == [1, 2, 3, 4, 5]


# Refusals, each in words of its own.


@pytest.fixture
def passwords(open_mosquitto: Open, tmp_path: Path) -> Path:  # noqa: ARG001 - brings mosquitto_passwd
    """A password file that knows the user `scope` with the password `right`."""
    file = tmp_path / "passwords"
    subprocess.run([str(find_program("mosquitto_passwd")), "-c", "-b", file, "scope", "right"], check=True)
    return file


def test_a_wrong_password_is_named_and_never_shown(
    open_mosquitto: Open, passwords: Path, topics: Topics, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines = ["allow_anonymous false", f"password_file {passwords}"]
    wrong = {"username": "scope", "password": SecretStr("hunter2hunter2")}
    with open_mosquitto(config_lines=lines) as broker:
        with courier_to(broker, topics, outbox, **wrong) as courier:
            assert until(lambda: "refused user scope" in courier.trouble)
            assert "mqtt.password" in courier.trouble
        with pytest.raises(BrokerError, match=r"mqtt\.password") as refusal:
            probe(MqttSettings(port=broker.port, **wrong), 5)
        right = {"username": "scope", "password": SecretStr("right")}
        with courier_to(broker, topics, outbox, **right) as courier:
            assert courier.wait_connected(10)
    assert "hunter2" not in caplog.text + str(refusal.value)


def test_a_publish_that_the_brokers_access_list_denies_is_kept_and_retried(
    open_mosquitto: Open, topics: Topics, outbox: Outbox, make_report: Make, tmp_path: Path
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic write {topics.status}\n")
    with open_mosquitto(config_lines=[f"acl_file {rules}"]) as broker, courier_to(broker, topics, outbox) as courier:
        put(outbox, make_report, 5)
        assert until(lambda: "(135)" in courier.trouble)
        assert topics.frame in courier.trouble
        assert "access list" in courier.trouble
        assert outbox.count() == 5
        rules.write_text("topic readwrite #\n")
        os.kill(broker.pid, signal.SIGHUP)
        assert courier.drain(20) == 0
        assert courier.trouble == ""


def test_two_agents_of_one_name_get_a_hint(
    mosquitto: Broker, topics: Topics, outbox: Outbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with courier_to(mosquitto, topics, outbox) as first, Outbox(tmp_path / "other", max_mb=8) as other:
        assert first.wait_connected(10)
        with courier_to(mosquitto, topics, other):
            assert until(lambda: "perhaps another client has the same name (an agent: site and device)" in caplog.text)


def test_every_way_of_being_unreachable_has_its_own_words() -> None:
    with pytest.raises(BrokerError, match="nothing listens"):
        probe(MqttSettings(port=free_port()), 2)
    with pytest.raises(BrokerError, match="no address is known"):
        probe(MqttSettings(host="broker.invalid"), 2)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(BrokerError, match="is it an MQTT broker"):
        probe(MqttSettings(port=mute.getsockname()[1]), 0.3)


def test_probe_says_what_answered(mosquitto: Broker) -> None:
    assert probe(MqttSettings(port=mosquitto.port), 5) == f"127.0.0.1:{mosquitto.port} speaks MQTT 5"


# TLS.


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities, `ours` and `theirs`, and from ours a pair for a broker and one for an agent."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ours", "theirs"):
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("broker", "agent"):
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ours.crt", "-CAkey", "ours.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", "names", "-out", f"{name}.crt"),
        )
    return folder


def tls_lines(certificates: Path) -> list[str]:
    return [
        f"cafile {certificates / 'ours.crt'}",
        f"certfile {certificates / 'broker.crt'}",
        f"keyfile {certificates / 'broker.key'}",
    ]


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
    with courier_to(mutual_tls, topics, outbox, tls=tls, **login) as courier:
        put(outbox, make_report, 50)
        assert courier.drain(20) == 0, courier.trouble


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


# Helpers with a life of their own.


def courier_is_connected(courier: Courier) -> Callable[[], bool]:
    return lambda: courier.wait_connected(0)


class Cable:
    """A connection that can be pulled out: forwards a port of its own to another one."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._target: int | None = None
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pull_out()
        self._server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._server.close()

    def plug_into(self, port: int) -> None:
        self._target = port

    def pull_out(self) -> None:
        """Cut every connection; what was on its way is lost."""
        self._target = None
        with self._lock:
            for end in self._ends:
                cut(end)
            self._ends.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                target = self._target
                if target is None:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", target))
                self._ends += [near, far]
                pairs = ((near, far), (far, near))
                pumps = [threading.Thread(target=pump, args=pair, daemon=True) for pair in pairs]
                self._threads += pumps
            for thread in pumps:
                thread.start()


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        cut(sink)
        source.close()


def cut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
