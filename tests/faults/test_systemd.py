"""The service under a real systemd: ready when frames flow, ended when it hangs, back after every fault."""

import logging
import time
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.box import CHECKOUT, Box
from tests.faults.test_power import disk_with_power
from tests.waiting import SLACK

log = logging.getLogger(__name__)
pytestmark = pytest.mark.requires_root

AGENT = "microscope-agent"
WATCHDOG_S = 3
NOTICED_S = {"STOP": WATCHDOG_S, "KILL": 0}
"""By what the agent is hit, and when systemd must know of it."""
BACK_S = 2.0
"""Promised: how soon after that it runs again."""
SMEAR = 'site = "lab"\ndevice = "scope-1"\n[source]\nkind = "synthetic"\nfps = 10\n'
CAMERA = """
site = "lab"
device = "scope-1"
[source]
kind = "camera"
uri = "http://127.0.0.1:8090/"
um_per_pixel = 0.1
max_age_ms = 500
"""
SERVER = """
import http.server, pathlib, time
FLOWS, PICTURE = pathlib.Path("/run/frames-flow"), pathlib.Path("/srv/frame.jpg").read_bytes()

class Camera(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while True:
            if FLOWS.exists():
                self.wfile.write(b"--frame\\r\\nContent-Type: image/jpeg\\r\\n\\r\\n" + PICTURE + b"\\r\\n")
            time.sleep(0.05)

http.server.ThreadingHTTPServer(("127.0.0.1", 8090), Camera).serve_forever()
"""


@pytest.fixture
def agent(box: Box) -> Iterator[Box]:
    """The box with an agent that looks at a rendered smear; not started yet."""
    (box.root / "etc/microscope-agent/agent.toml").write_text(SMEAR)
    box.change(AGENT, f"WatchdogSec={WATCHDOG_S}")
    yield box
    box.run("systemctl", "stop", AGENT)
    box.run("systemctl", "reset-failed", AGENT, check=False)
    box.change(AGENT, "")


def numbers(box: Box, count: int) -> list[int]:
    """``seq`` of the next reports that a subscriber in the box hears."""
    words = ["mosquitto_sub", "-t", "microscopy/v1/lab/scope-1/frame", "-q", "1", "-C", str(count), "-W", "30"]
    lines = box.run(*words, "-F", "%p").splitlines()
    return [int(line.partition('"seq":')[2].partition(",")[0]) for line in lines]


def restarted(box: Box, *, since: str, timeout_s: float = 60) -> float:
    """Seconds until another process than ``since`` is ready."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        if box.shows(AGENT, "MainPID") not in {since, "0"} and box.shows(AGENT, "ActiveState") == "active":
            return time.monotonic() - began
        time.sleep(0.05)
    raise AssertionError(box.journal(AGENT))


def back_after(box: Box, signal: str) -> float:
    """Hit the agent; seconds from when systemd must know until it runs again."""
    before = box.shows(AGENT, "MainPID")
    box.run("kill", f"-{signal}", before)
    seconds = restarted(box, since=before)
    log.info("from SIG%s to running: %.2f s, promised %.1f s", signal, seconds, NOTICED_S[signal] + BACK_S)
    return seconds - NOTICED_S[signal]


def wait_for_a_restart(box: Box, timeout_s: float = 30) -> None:
    """Until the service manager has given the agent up and started another."""
    deadline = time.monotonic() + timeout_s
    while box.shows(AGENT, "NRestarts") == "0":
        assert time.monotonic() < deadline, box.journal(AGENT)
        time.sleep(0.2)


def test_it_starts_as_a_user_of_its_own_and_publishes(agent: Box) -> None:
    agent.run("systemctl", "start", AGENT)
    assert numbers(agent, 3)
    assert agent.run("stat", "-c", "%U %a", "/var/lib/private/microscope-agent") == "microscope-agent 700"
    assert "frames" in agent.shows(AGENT, "StatusText")


def test_it_is_ready_only_when_frames_flow(agent: Box) -> None:
    _, picture = cv2.imencode(".jpg", np.full((480, 640, 3), 200, np.uint8))
    (agent.root / "srv/camera.py").write_text(SERVER)
    (agent.root / "srv/frame.jpg").write_bytes(picture.tobytes())
    (agent.root / "etc/microscope-agent/agent.toml").write_text(CAMERA)
    agent.run("systemd-run", "--unit", "camera", "/usr/bin/python3", "/srv/camera.py")
    try:
        agent.run("systemctl", "start", "--no-block", AGENT)
        time.sleep(4)
        assert agent.shows(AGENT, "ActiveState") == "activating"
        agent.run("touch", "/run/frames-flow")
        agent.wait(AGENT, "active")
        assert agent.shows(AGENT, "Result") == "success"
        before = agent.shows(AGENT, "MainPID")
        agent.run("rm", "/run/frames-flow")
        agent.wait(AGENT, "activating")
        assert "watchdog" in agent.journal(AGENT).lower()
        agent.run("touch", "/run/frames-flow")
        restarted(agent, since=before)
    finally:
        agent.run("systemctl", "stop", "camera")
        agent.run("rm", "-f", "/run/frames-flow")


def test_a_hang_is_ended_by_the_watchdog(agent: Box) -> None:
    agent.run("systemctl", "start", AGENT)
    assert back_after(agent, "STOP") <= SLACK * BACK_S
    assert "Watchdog timeout" in agent.journal(AGENT)


def test_a_disk_that_stands_still_is_seen_by_the_watchdog_and_once_it_moves_the_agent_counts_on(agent: Box) -> None:
    """The kernel holds the old process until then; no start before that may harm what it keeps."""
    state, mount, image = "/var/lib/private/microscope-agent", Path("/srv/disk"), Path("/srv/image")
    agent.run("mkdir", "-p", state, str(mount), str(image))
    agent.run("mknod", "-m", "666", "/dev/fuse", "c", "10", "229")
    agent.change(AGENT, f"WatchdogSec={WATCHDOG_S}\nTimeoutAbortSec=1\nTimeoutStopSec=1\nReadWritePaths={mount}")
    with disk_with_power(mount, image, seed=1, start=agent.start) as disk:
        agent.run("sh", "-c", f"rm -f {state}/outbox*; ln -s {mount}/outbox.sqlite {state}/outbox.sqlite")
        agent.run("systemctl", "start", AGENT)
        last, before = numbers(agent, 3)[-1], agent.shows(AGENT, "MainPID")
        print("stall", file=disk.stdin, flush=True)
        try:
            wait_for_a_restart(agent)
            assert agent.run("ls", f"/proc/{before}/task"), "the disk did not hold it: this test shows nothing"
        finally:
            print("flow", file=disk.stdin, flush=True)
        log.info("from the disk's return to running: %.2f s", restarted(agent, since=before))
        assert numbers(agent, 1)[0] > last
        agent.run("systemctl", "stop", AGENT)
        agent.run("sh", "-c", f"rm -f {state}/outbox*")


def test_after_kill_it_runs_again_and_counts_on(agent: Box) -> None:
    agent.run("systemctl", "start", AGENT)
    first = numbers(agent, 2)[-1]
    assert back_after(agent, "KILL") <= SLACK * BACK_S
    assert numbers(agent, 1)[0] > first


@pytest.mark.soak
@pytest.mark.parametrize("signal", NOTICED_S)
def test_it_is_back_as_soon_as_promised(agent: Box, signal: str) -> None:
    """The best of three: what else the machine does meanwhile is not the agent's."""
    agent.run("systemctl", "start", AGENT)
    assert min(back_after(agent, signal) for _ in range(3)) <= BACK_S


def test_wrong_settings_are_not_tried_again(agent: Box) -> None:
    (agent.root / "etc/microscope-agent/agent.toml").write_text("sight = 1\n")
    agent.run("systemctl", "start", AGENT, check=False)
    agent.wait(AGENT, "failed")
    assert agent.shows(AGENT, "ExecMainStatus") == "2"
    assert agent.shows(AGENT, "NRestarts") == "0"


def test_the_password_comes_from_a_credential_that_only_root_can_read(agent: Box) -> None:
    secret = agent.root / "etc/microscope-agent/mqtt.password"
    secret.write_text("a long word")
    secret.chmod(0o600)
    agent.change(AGENT, "LoadCredential=mqtt.password:/etc/microscope-agent/mqtt.password")
    agent.run("systemctl", "start", AGENT)
    assert "a long word" not in agent.run(
        "sh", "-c", f"tr '\\0' ' ' < /proc/$(systemctl show -p MainPID --value {AGENT})/environ"
    )
    assert numbers(agent, 1)


def test_a_credential_that_is_missing_is_named_with_its_file(agent: Box) -> None:
    missing = "/etc/microscope-agent/mqtt.tls.key"
    agent.run("rm", "-f", missing)  # of tests before this one
    agent.change(AGENT, f"LoadCredential=mqtt.tls.key:{missing}")
    said = agent.run("sh", "-c", "microscope-doctor 2>&1; echo $?", check=False)
    assert f"{missing} is missing, which microscope-agent.service reads as the credential mqtt.tls.key" in said
    assert said.endswith("4")


def test_a_reload_makes_another_connection_and_the_service_goes_on(agent: Box) -> None:
    agent.run("systemctl", "start", AGENT)
    before, last = agent.shows(AGENT, "MainPID"), numbers(agent, 2)[-1]
    agent.run("systemctl", "reload", AGENT)
    assert numbers(agent, 1)[0] > last
    assert (agent.shows(AGENT, "MainPID"), agent.shows(AGENT, "ActiveState")) == (before, "active")
    said = agent.run("journalctl", f"_PID={before}", "--no-pager", "-o", "cat")
    assert said.count("connected to the broker") == 2


def test_the_commands_are_on_the_path(box: Box) -> None:
    for name in ("microscope-agent", "microscope-collect", "microscope-dashboard", "microscope-watch"):
        assert box.run(name, "--help")


def test_an_upgrade_after_one_that_was_cut_off_keeps_the_settings_and_counts_on(agent: Box) -> None:
    agent.run("systemctl", "start", AGENT)
    before, first = agent.run("readlink", "/opt/microscope-agent/current").strip(), numbers(agent, 1)[0]
    agent.run("ln", "-s", before, "/opt/microscope-agent/next")
    agent.run("make", "-C", str(CHECKOUT), "install", outside_network=True, timeout_s=300)
    assert agent.run("readlink", "/opt/microscope-agent/current").strip() != before
    assert (agent.root / "etc/microscope-agent/agent.toml").read_text() == SMEAR
    assert numbers(agent, 1)[0] > first


def test_the_collector_stores_what_the_agent_reports_and_the_agent_forgets_it(agent: Box) -> None:
    (agent.root / "etc/microscope-agent/agent.toml").write_text(f'{SMEAR}[outbox]\nforget_on = "consumer"\n')
    agent.run("systemctl", "start", "microscope-collect", AGENT)
    try:
        last = numbers(agent, 20)[-1]
        agent.run("systemctl", "stop", AGENT)
        database = "/var/lib/private/microscope-collect/collector.sqlite"
        count = (
            "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('select max(seq), count(*) from report'))"
        )
        upto, rows = literal_eval(agent.run("python3", "-c", count, database))
        assert upto >= last
        assert rows > 10
    finally:
        agent.run("systemctl", "stop", "microscope-collect")


@pytest.mark.parametrize("unit", [AGENT, "microscope-collect", "microscope-dashboard"])
def test_systemd_finds_nothing_to_say_of_a_unit(box: Box, unit: str) -> None:
    assert box.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}.service") == ""


@pytest.mark.parametrize("unit", [AGENT, "microscope-collect", "microscope-dashboard"])
def test_what_a_service_could_do_to_the_machine_is_little(box: Box, unit: str) -> None:
    said = box.run("systemd-analyze", "security", f"{unit}.service", "--no-pager").splitlines()[-1]
    assert float(said.split(":")[1].split()[0]) <= 1.5


def test_uninstalling_keeps_what_is_not_ours_to_delete(box: Box) -> None:
    drop_ins = box.root / f"etc/systemd/system/{AGENT}.service.d"
    for name in ("override.conf", "jetson.conf"):
        (drop_ins / name).write_text("[Service]\nMemoryMax=2G\n")
    kept = "/opt/microscope-agent", "/etc/systemd/system", "/usr/local/bin"
    for place in kept:  # so that nobody has to install it again
        box.run("cp", "--archive", "--link", place, f"{place}.kept")
    box.run("make", "-C", str(CHECKOUT), "uninstall")
    try:
        assert box.run("ls", "/etc/microscope-agent/agent.toml")
        assert (drop_ins / "override.conf").exists()
        assert not (drop_ins / "jetson.conf").exists()
        assert not (box.root / "opt/microscope-agent").exists()
        assert box.run("systemctl", "list-unit-files", f"{AGENT}*", "--no-legend", check=False) == ""
    finally:
        for place in kept:
            box.run("rm", "-r", "-f", place)
            box.run("mv", f"{place}.kept", place)
        (drop_ins / "override.conf").unlink(missing_ok=True)
        (drop_ins / "jetson.conf").unlink(missing_ok=True)
        box.run("systemctl", "daemon-reload")
