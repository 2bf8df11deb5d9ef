"""The services before a broker that asks for TLS, a certificate and a password: what only root can read, they have."""

import time
from collections.abc import Iterator

import pytest

from agent.ops.clock import is_kept_right
from tests.box import Box
from tests.collector.test_secured import rules_of_the_page
from tests.faults.test_refused import Authority

pytestmark = pytest.mark.requires_root

AGENT, COLLECTOR = "microscope-agent", "microscope-collect"
FRAMES = "microscopy/v1/lab/scope-1/frame"
BROKER = """
listener 8883 127.0.0.1
cafile /srv/tls/ours.crt
certfile /srv/tls/broker.crt
keyfile /srv/tls/broker.key
require_certificate true
allow_anonymous false
password_file /srv/tls/passwords
acl_file /srv/tls/acl
user root
"""
LOOKS_AT = """
site = "lab"
device = "scope-1"
source = {kind = "synthetic", fps = 20}
outbox = {forget_on = "consumer"}
"""
SPEAKS_WITH = """
[mqtt]
port = 8883
username = "%s"
"""
AS_PEOPLE_WRITE = """
  UMask = 0077
DeviceAllow=char-video4linux \\
    rw
"""
CERTIFIED = "MICROSCOPE_MQTT__HOST=localhost\nMICROSCOPE_COLLECT_MQTT__HOST=localhost\n"
"""The environment of both: the only name in the broker's certificate."""
USERS = {AGENT: "scope-1", COLLECTOR: "collector", "": "technician"}
"""Of the access list in docs/mqtt.md; a user's password is the name."""


def credentials_of(box: Box, unit: str) -> str:
    """The unit's own examples of LoadCredential=, in force."""
    lines = (box.root / f"etc/systemd/system/{unit}.service").read_text().splitlines()
    return "\n".join(line.removeprefix("# ") for line in lines if line.startswith("# LoadCredential=mqtt."))


def hand_over(box: Box, unit: str, secrets: dict[str, str]) -> None:
    """Write each secret to where the unit looks for it, for root alone, and switch its examples on."""
    lines = credentials_of(box, unit)
    for line in lines.splitlines():
        name, _, path = line.removeprefix("LoadCredential=").partition(":")
        file = box.root / path.lstrip("/")
        file.touch(mode=0o600)
        file.write_text(secrets[name])
    box.change(unit, lines + AS_PEOPLE_WRITE)


@pytest.fixture(scope="module")
def guarded(box: Box) -> Iterator[Box]:
    """The box with a broker that lets in whoever has certificate and password, and both services told so."""
    folder = box.root / "srv/tls"
    folder.mkdir()
    ours = Authority(folder, "ours")
    ours.sign("broker")
    (folder / "acl").write_text(rules_of_the_page())
    (folder / "mosquitto.conf").write_text(BROKER)
    box.run("touch", "/srv/tls/passwords")
    for unit, user in USERS.items():
        box.run("mosquitto_passwd", "-b", "/srv/tls/passwords", user, user)
        cert, key = ours.sign(user)
        if unit:
            files = {"ca": ours.certificate, "cert": cert, "key": key}
            secrets = {f"mqtt.tls.{name}": path.read_text() for name, path in files.items()}
            hand_over(box, unit, {**secrets, "mqtt.password": f"{user}\n"})
    box.run("sh", "-c", "rm -f /var/lib/private/microscope-collect/collector.sqlite*")  # of tests before these
    settings = box.root / "etc/microscope-agent"
    before = {name: (settings / name).read_text() for name in ("agent.toml", "collector.toml", "environment")}
    (settings / "agent.toml").write_text(LOOKS_AT + SPEAKS_WITH % USERS[AGENT])
    (settings / "collector.toml").write_text(SPEAKS_WITH % USERS[COLLECTOR])
    (settings / "environment").write_text(CERTIFIED)
    broker = ["/usr/sbin/mosquitto", "-c", "/srv/tls/mosquitto.conf"]
    box.run("systemd-run", "--quiet", "--unit", "guarded-broker", "-p", "Type=notify", *broker)
    yield box
    box.run("systemctl", "stop", AGENT, COLLECTOR, "guarded-broker")
    for unit in (AGENT, COLLECTOR):
        box.change(unit, "")
    for name, text in before.items():
        (settings / name).write_text(text)


def test_the_doctor_that_make_install_brings_sees_what_the_service_sees(guarded: Box) -> None:
    doctor = "/opt/microscope-agent/current/bin/microscope-doctor"
    said = guarded.run(doctor)
    assert "ok   broker" in said
    assert "FAIL" not in said
    assert ("nobody keeps it right" in said) == (is_kept_right() is False)
    assert "--set" in guarded.run(doctor, "--help")
    with pytest.raises(AssertionError, match="1 of the checks above failed"):
        guarded.run(doctor, "--set", "mqtt.password=wrong")


def test_its_frames_arrive_by_mutual_tls_with_keys_that_only_root_can_read(guarded: Box) -> None:
    guarded.run("systemctl", "start", AGENT)
    technician = ["-u", "technician", "-P", "technician", "--cert", "/srv/tls/technician.crt"]
    secured = ["-p", "8883", "--cafile", "/srv/tls/ours.crt", "--key", "/srv/tls/technician.key", *technician]
    heard = guarded.run("mosquitto_sub", "-h", "localhost", *secured, "-t", FRAMES, "-C", "3", "-W", "30")
    assert heard.count('"seq":') == 3
    assert guarded.run("stat", "-c", "%U %a", "/etc/microscope-agent/mqtt.tls.key") == "root 600"
    assert "PRIVATE KEY" not in guarded.journal(AGENT)


def test_the_collector_with_credentials_of_its_own_stores_them(guarded: Box) -> None:
    guarded.run("systemctl", "start", AGENT, COLLECTOR)
    stored = "/opt/microscope-agent/current/bin/microscope-stored"
    deadline = time.monotonic() + 30
    while "lab/scope-1 epoch" not in guarded.run(stored, "status", check=False):
        assert time.monotonic() < deadline, guarded.journal(COLLECTOR)
    assert guarded.run(stored, "export", "cells", "--form", "jsonl")
    with pytest.raises(AssertionError, match="write microscope-stored status"):
        guarded.run(stored)
    assert "PRIVATE KEY" not in guarded.journal(COLLECTOR)
