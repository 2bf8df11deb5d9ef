"""What a monitoring system reads: parsed by Prometheus's own parser, over real HTTP, of a running agent."""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from agent.ops.health import STALL_S, Counters, Pulse
from agent.ops.metrics import DEADLINE_S, MOST_CLIENTS, pages, served
from agent.wire.outbox import Outbox
from common.errors import OutboxError
from contract.messages import AuditHead, FrameInfo, FrameReport, Health, Quality
from mqttlink.refusals import State

MakeReport = Callable[..., FrameReport]
FULL = Health(
    at=datetime(2026, 1, 31, tzinfo=timezone.utc),
    frames=12,
    refused=2,
    cells=30,
    dropped={"skipped": 4, "outbox_full": 1},
    queued=5,
    engine="onnxruntime-int8",
    alarms=["the disk is full"],
    frame_age_s=0.5,
    oldest_s=90.25,
    temperatures_c={"cpu-thermal": 48.3},
    power_w={"VDD_IN": 6.18},
    broker="online",
    silence_s=2.5,
    audit=AuditHead(lines=7, sha256="0" * 64),
)


class Broker(Protocol):
    """What is asked of the fixture ``mosquitto``."""

    port: int


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


@contextmanager
def serving(health: Callable[[], Health] = lambda: FULL, **ills: str) -> Iterator[int]:
    """The pages of an agent with these ills; its port."""
    trouble, hangs, idles = (partial(str, ills.get(name, "")) for name in ("trouble", "hangs", "idles"))
    port = free_port()
    with served(port, pages(health, version="0.1.0", trouble=trouble, hangs=hangs, idles=idles)) as alarm:
        assert alarm == ""
        yield port


def get(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, answer.headers["Content-Type"], body


def samples(text: str) -> dict[str, float]:
    """Every sample of ours by name and label."""
    found = [sample for family in parse(text) for sample in family.samples]
    return {
        "".join((sample.name, *(f"{{{key}={value}}}" for key, value in sample.labels.items()))): sample.value
        for sample in found
        if sample.name.startswith("microscope_")
    }


def test_prometheus_s_own_parser_finds_what_the_health_message_says() -> None:
    with serving() as port:
        status, kind, text = get(port, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert samples(text) == {
        "microscope_frames_total": 12,
        "microscope_frames_refused_total": 2,
        "microscope_cells_total": 30,
        "microscope_dropped_total{cause=skipped}": 4,
        "microscope_dropped_total{cause=outbox_full}": 1,
        "microscope_frame_age_seconds": 0.5,
        "microscope_outbox_reports": 5,
        "microscope_outbox_oldest_seconds": 90.25,
        "microscope_consumer_silence_seconds": 2.5,
        "microscope_broker_connected": 1,
        **{f"microscope_broker_state{{state={state}}}": float(state == "online") for state in get_args(State)},
        "microscope_alarms": 1,
        "microscope_audit_lines_total": 7,
        "microscope_temperature_celsius{zone=cpu-thermal}": 48.3,
        "microscope_power_watts{rail=VDD_IN}": 6.18,
        "microscope_agent_info{engine=onnxruntime-int8}{version=0.1.0}": 1,
    }


def test_every_metric_has_a_help_and_a_type() -> None:
    with serving() as port:
        _, _, text = get(port, "/metrics")
    for family in parse(text):
        assert family.documentation, family.name
        assert family.type in {"counter", "gauge"}, family.name


def test_every_metric_is_described_to_people() -> None:
    described = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    with serving() as port:
        names = {name.partition("{")[0] for name in samples(get(port, "/metrics")[2])}
    assert [name for name in names if f"`{name}`" not in described] == []


def test_every_state_of_the_connection_is_described_to_people() -> None:
    described = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    assert [state for state in get_args(State) if f"`{state}`" not in described] == []


def test_what_is_not_known_has_no_sample() -> None:
    unknown = FULL.model_copy(update={"frame_age_s": None, "oldest_s": None, "silence_s": None, "audit": None})
    with serving(lambda: unknown) as port:
        names = samples(get(port, "/metrics")[2])
    assert not [name for name in names if "_seconds" in name or "audit" in name]


def test_a_cause_of_loss_has_a_sample_before_the_first_loss_so_that_an_alert_sees_the_first() -> None:
    with serving(lambda: FULL.model_copy(update={"dropped": {}})) as port:
        told = samples(get(port, "/metrics")[2])
    lost = {name: count for name, count in told.items() if "dropped" in name}
    assert lost == {"microscope_dropped_total{cause=skipped}": 0, "microscope_dropped_total{cause=outbox_full}": 0}


def test_the_memory_of_the_process_is_told_in_bytes() -> None:
    with serving() as port:
        assert "process_resident_memory_bytes " in get(port, "/metrics")[2]


def test_trouble_with_the_broker_shows_in_words_and_in_its_state_and_is_no_reason_to_be_unready() -> None:
    denied = FULL.model_copy(update={"broker": "denied"})
    with serving(lambda: denied, trouble="the broker does not let us use topic frame") as port:
        told = samples(get(port, "/metrics")[2])
        assert get(port, "/readyz")[::2] == (200, "ok\nbroker: the broker does not let us use topic frame\n")
    assert told["microscope_broker_connected"] == 0
    assert [name for name in told if "state" in name and told[name]] == ["microscope_broker_state{state=denied}"]


def test_an_agent_that_hangs_is_neither_healthy_nor_ready() -> None:
    with serving(hangs="the loop has done nothing for 61 s") as port:
        assert get(port, "/healthz")[::2] == (503, "the loop has done nothing for 61 s\n")
        assert get(port, "/readyz")[::2] == (503, "the loop has done nothing for 61 s\nbroker: online\n")


def test_an_agent_without_frames_is_healthy_and_not_ready() -> None:
    with serving(idles="no frame has been examined yet") as port:
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/readyz")[::2] == (503, "no frame has been examined yet\nbroker: online\n")


def test_a_health_that_can_not_be_told_is_a_503_with_the_reason() -> None:
    def broken() -> Health:
        raise OutboxError("the outbox can not be read")

    with serving(broken) as port:
        assert get(port, "/metrics")[::2] == (503, "the outbox can not be read\n")
        assert get(port, "/healthz")[0] == 200


def test_other_pages_and_methods_are_refused() -> None:
    with serving() as port:
        assert get(port, "/../etc/passwd")[::2] == (404, "there are /metrics, /healthz, /readyz\n")
        assert get(port, "/metrics?name=x")[0] == 200
        assert get(port, "/healthz", "HEAD")[::2] == (200, "")
        assert get(port, "/metrics", "POST")[0] == 501


@pytest.mark.parametrize("nonsense", [b"", b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000])
def test_nonsense_does_not_end_the_service(nonsense: bytes) -> None:
    with serving() as port:
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(nonsense)
        assert get(port, "/healthz")[0] == 200


def connected(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), 10) for _ in range(count)]


def drip(client: socket.socket, ended: threading.Event) -> None:
    """A request that never ends, a byte at a time."""
    with suppress(OSError), client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        while not ended.wait(0.05):
            client.sendall(b"a")


@pytest.mark.parametrize("clients", [1, MOST_CLIENTS, 3 * MOST_CLIENTS])
def test_slow_clients_hold_up_nobody_and_no_stop(clients: int) -> None:
    ended = threading.Event()
    with ThreadPoolExecutor(clients) as pool:
        with serving() as port:
            slow = [pool.submit(drip, client, ended) for client in connected(port, clients)]
            assert [get(port, page)[0] for page in ("/healthz", "/readyz", "/metrics")] == [200] * 3
        dropped = [task.exception(DEADLINE_S / 2) for task in slow]  # the stop did: nobody's time was over
        ended.set()
    assert dropped == [None] * clients


def test_a_request_has_one_deadline_however_little_comes_at_a_time() -> None:
    ended = threading.Event()
    with serving() as port, ThreadPoolExecutor(1) as pool:
        task = pool.submit(drip, connected(port, 1)[0], ended)
        try:
            task.result(10 * DEADLINE_S)
        finally:
            ended.set()


def test_a_client_that_reads_nothing_holds_up_nobody() -> None:
    with serving() as port:
        clients = connected(port, 2 * MOST_CLIENTS)
        for client in clients:
            with suppress(OSError):  # it is dropped already
                client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert get(port, "/healthz")[0] == 200
        for client in clients:
            client.close()


def test_while_the_disk_stands_still_probes_are_answered_and_metrics_say_why_they_are_not() -> None:
    flows, asked = threading.Event(), threading.Event()

    def stuck() -> Health:
        asked.set()
        flows.wait(60)
        return FULL

    with ThreadPoolExecutor(1) as pool, serving(stuck) as port:
        first = pool.submit(get, port, "/metrics")
        try:
            assert asked.wait(10)
            status, _, text = get(port, "/metrics")
            assert (status, "does the outbox's disk answer?" in text) == (503, True)
            assert get(port, "/healthz")[0] == 200
        finally:
            flows.set()
        with suppress(OSError, http.client.HTTPException):  # its time may be over
            first.result(10)


def test_it_listens_on_loopback_alone() -> None:
    with serving() as port:
        table = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    listening = [line.split()[1] for line in table.splitlines() if f":{port:04X} " in line and " 0A " in line]
    assert listening == [f"0100007F:{port:04X}"]


def test_a_port_that_is_taken_is_an_alarm_and_not_the_end() -> None:
    with serving() as port, served(port, {}) as alarm:
        assert f"`metrics.port` {port} can not be listened at (Address already in use)" in alarm


def test_a_service_loads_the_libraries_of_monitoring_only_where_it_is_asked_for() -> None:
    code = "import sys, agent.service; print({'prometheus_client', 'http.server'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


class Clock:
    """A clock that goes when it is told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_loop_that_stands_still_hangs_and_one_that_reports_silence_does_not() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    assert (pulse.hangs(), pulse.idles(), pulse.frame_age_s) == ("", "no frame has been examined yet", None)
    pulse.beat(worked=True, kept=True)
    assert (pulse.hangs(), pulse.idles(), pulse.frame_age_s) == ("", "", 0)
    clock.now_s += STALL_S + 1
    assert "the loop has done nothing for 61 s" in pulse.hangs()
    pulse.beat(worked=False, kept=True)
    assert (pulse.hangs(), pulse.idles()) == ("", "the last frame was examined 61 s ago")
    pulse.beat(worked=True, kept=False)
    assert (pulse.hangs(), pulse.idles()) == ("", "there is no room for reports")


@pytest.mark.parametrize(("captured_before_s", "told"), [(30, pytest.approx(30, abs=10)), (-3600, 0.0)])
def test_the_oldest_report_that_waits_is_told_by_its_age(
    tmp_path: Path, make_report: MakeReport, captured_before_s: float, told: float
) -> None:
    """A clock that was set back by an hour makes it 0."""
    with Outbox(tmp_path / "outbox.sqlite", max_mb=8) as outbox:
        said = Counters().health(queued=0, engine="x", outbox=outbox)
        assert said.oldest_s is None
        captured = datetime.now(timezone.utc) - timedelta(seconds=captured_before_s)
        frame = FrameInfo(id="a", source="b", captured_at=captured, width=1, height=1, um_per_pixel=0.1)
        outbox.put(make_report(outbox.next_seq(), outbox.epoch, frame=frame))
        outbox.put(make_report(outbox.next_seq(), outbox.epoch))
        assert Counters().health(queued=2, engine="x", outbox=outbox).oldest_s == told


def test_a_report_of_the_camera_s_silence_makes_no_frame_younger(make_report: MakeReport) -> None:
    silence = make_report(quality=Quality(accepted=False, reasons=["stale"]))
    assert silence.quality.reasons == ["stale"]
    pulse = Pulse()
    pulse.beat(worked=False, kept=True)
    assert pulse.frame_age_s is None


@pytest.fixture
def running(mosquitto: Broker, tmp_path: Path) -> Iterator[int]:
    """An agent that runs; the port where it tells its metrics."""
    port = free_port()
    wanted = {
        "state_dir": tmp_path, "device": "scope-metrics", "mqtt.host": "127.0.0.1", "mqtt.port": mosquitto.port,
        "source.kind": "synthetic", "source.fps": 20, "source.frames": 1_000_000, "metrics.port": port,
    }  # fmt: skip
    pairs = [part for key, value in wanted.items() for part in ("--set", f"{key}={value}")]
    with subprocess.Popen([sys.executable, "-m", "agent", "run", *pairs], stderr=subprocess.DEVNULL) as process:
        try:
            yield port
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def until(done: Callable[[], Any], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if done():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("it did not come to pass")


def test_a_running_agent_is_healthy_ready_and_counts(running: int, subscribe: Any, mosquitto: Broker) -> None:
    until(lambda: get(running, "/readyz")[0] == 200)
    until(lambda: samples(get(running, "/metrics")[2])["microscope_broker_connected"] == 1)
    assert get(running, "/healthz")[::2] == (200, "ok\n")
    first = samples(get(running, "/metrics")[2])
    until(
        lambda: samples(get(running, "/metrics")[2])["microscope_frames_total"] > first["microscope_frames_total"] > 0
    )
    assert 0 <= first["microscope_frame_age_seconds"] < STALL_S
    assert "microscope_agent_info{engine=onnxruntime-int8}{version=0.1.0}" in first
    listener = subscribe(mosquitto, "microscopy/v1/lab/scope-metrics/health")
    while not (health := Health.model_validate(json.loads(listener.next(30)["payload"]))).frames:
        pass
    assert health.frame_age_s is not None
    assert health.audit is not None
    assert health.audit.lines >= 4
