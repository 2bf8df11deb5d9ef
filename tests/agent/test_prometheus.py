"""What a monitoring system reads: parsed by Prometheus's own parser, over real HTTP, of a running agent."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from agent.ops.health import STALL_S, Counters, Pulse
from agent.wire.outbox import Outbox
from common.errors import OutboxError
from contract.health_messages import Health
from contract.messages import FrameInfo, FrameReport, Quality
from mqttlink.refusals import State
from tests.monitoring import FULL, free_port, get, serving

MakeReport = Callable[..., FrameReport]


class Broker(Protocol):
    """What is asked of the fixture ``mosquitto``."""

    port: int


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
        "microscope_pictures_total": 41,
        "microscope_pictures_dropped_total": 2,
        "microscope_pictures_bytes": 1.5 * 2**20,
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
    lost = {name: count for name, count in told.items() if "microscope_dropped" in name}
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


def test_a_service_loads_the_libraries_of_monitoring_and_certificates_only_where_they_are_asked_for() -> None:
    code = "import sys, agent.service; print({'prometheus_client', 'cryptography.x509'} & sys.modules.keys())"
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
