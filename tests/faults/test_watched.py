"""What the people of a hospital's IT see of the service under a real systemd, within its walls."""

import time
from collections.abc import Iterator

import pytest

from tests.box import Box
from tests.waiting import until

pytestmark = pytest.mark.requires_root

AGENT = "microscope-agent"
SETTINGS = """
site = "lab"
device = "scope-1"
[source]
kind = "synthetic"
fps = 20
[metrics]
port = 9464
"""
FETCH = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9464{}').read().decode())"
PROGRAM = "/opt/microscope-agent/current/bin/microscope-agent"


@pytest.fixture
def agent(box: Box) -> Iterator[Box]:
    """The box with an agent that runs."""
    box.run("systemctl", "start", "mosquitto")
    (box.root / "etc/microscope-agent/agent.toml").write_text(SETTINGS)
    box.run("systemctl", "start", AGENT)
    yield box
    box.run("systemctl", "stop", AGENT)
    box.run("systemctl", "start", "mosquitto")


def fetched(box: Box, page: str) -> str:
    return box.run("/usr/bin/python3", "-c", FETCH.format(page))


def test_once_it_is_ready_for_systemd_it_is_ready_for_probes(agent: Box) -> None:
    assert fetched(agent, "/readyz") == "ok\nbroker: online"
    assert fetched(agent, "/healthz") == "ok"
    assert "microscope_frames_total" in fetched(agent, "/metrics")


def test_the_journal_can_be_searched_by_priority(agent: Box) -> None:
    """Without its broker the agent warns, and stays ready."""
    agent.run("systemctl", "stop", "mosquitto")
    warnings = ["journalctl", "-u", AGENT, "-p", "warning", "--no-pager", "-o", "cat", "--grep", "broker"]
    deadline = time.monotonic() + 20
    while not (said := agent.run(*warnings, check=False)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "agent.wire.publisher: " in said
    assert "<4>" not in said
    plain = agent.run("journalctl", "-u", AGENT, "-p", "warning", "--no-pager", "-o", "cat")
    assert "connected to the broker at" not in plain
    assert "connected to the broker at" in agent.run("journalctl", "-u", AGENT, "--no-pager", "-o", "cat")
    ready, broker = fetched(agent, "/readyz").splitlines()
    assert (ready, "127.0.0.1:1883" in broker) == ("ok", True)


def test_the_audit_log_is_whole_after_a_kill(agent: Box) -> None:
    killed = agent.shows(AGENT, "MainPID")
    agent.run("kill", "-KILL", killed)  # not `systemctl kill`, which fails at times when it finds the others gone too
    assert until(lambda: agent.shows(AGENT, "MainPID") not in {killed, "0"}, 60)
    agent.wait(AGENT, "active")
    agent.run("systemctl", "stop", AGENT)
    folder = "/var/lib/private/microscope-agent"
    assert agent.run("stat", "-c", "%a", f"{folder}/audit") == "700"
    assert "whole: lines 1 to" in agent.run(PROGRAM, "audit", "verify", "--state-dir", folder)
