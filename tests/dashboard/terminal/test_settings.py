"""The dashboard's settings: from a file, the environment and the command line, as the agent's are."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.config import load as load_agent
from common.errors import UsageError
from dashboard.terminal.options import parser, settings_given
from dashboard.terminal.settings import WatchSettings, load
from tests.certificates import certificates_in, tls_lines

Open = Callable[..., Any]


def loaded(*words: str) -> WatchSettings:
    options = parser().parse_args(words)
    return load(options.config, settings_given(options))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dashboard.toml"
    path.write_text(
        'site = "lab"\n[mqtt]\nhost = "broker.example"\nport = 8883\ntls.ca = "~/ca.crt"\nkeepalive_s = 30\n'
    )
    return path


def test_the_command_line_is_stronger_than_the_environment_and_that_than_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded().mqtt.host == "127.0.0.1"
    found = loaded("--config", str(file))
    assert (found.site, found.device, found.mqtt.host, found.mqtt.port) == ("lab", "+", "broker.example", 8883)
    assert found.mqtt.tls is not None
    assert found.mqtt.tls.ca == Path.home() / "ca.crt"
    monkeypatch.setenv("MICROSCOPE_WATCH_MQTT__PORT", "1884")
    assert loaded("--config", str(file)).mqtt.port == 1884
    found = loaded("--config", str(file), "--port", "1885", "--device", "scope-1", "--set", "mqtt.keepalive_s=5")
    assert (found.mqtt.port, found.mqtt.keepalive_s, found.device) == (1885, 5, "scope-1")


def test_the_password_may_be_the_agents_or_one_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def password() -> str | None:
        secret = loaded("--username", "doctor").mqtt.password
        return secret.get_secret_value() if secret else None

    (tmp_path / "mqtt.password").write_text("from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert password() == "from systemd"
    monkeypatch.setenv("MICROSCOPE_MQTT__PASSWORD", "the agent's")
    assert password() == "the agent's"
    monkeypatch.setenv("MICROSCOPE_WATCH_MQTT__PASSWORD", "its own")
    assert password() == "its own"
    assert load_agent().settings.mqtt.password is not None, "the agent overlooks the dashboard's variables"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--set", "mqtt.prt=1"], "the nearest is 'mqtt.port'"),
        (["--port", "seventy"], r"mqtt\.port \(command line\)"),
        (["--host", "mqtt://me:secret@broker"], r"mqtt\.host \(command line\)"),
        (["--config", "/nowhere.toml"], "nowhere.toml can not be read"),
    ],
)
def test_what_can_be_no_setting_is_named(words: list[str], named: str) -> None:
    with pytest.raises(UsageError, match=named) as refusal:
        loaded(*words)
    assert "secret" not in str(refusal.value)


def test_a_file_of_settings_opens_a_broker_that_asks_for_a_certificate(open_mosquitto: Open, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    made, config = certificates_in(tmp_path), tmp_path / "dashboard.toml"
    with open_mosquitto(config_lines=[*tls_lines(made), "require_certificate true", "allow_anonymous true"]) as broker:
        tls = "".join(f'{name} = "{made / file}"\n' for name, file in
                      {"ca": "ours.crt", "cert": "agent.crt", "key": "agent.key"}.items())  # fmt: skip
        config.write_text(f'[mqtt]\nhost = "localhost"\nport = {broker.port}\n[mqtt.tls]\n{tls}')
        command = [sys.executable, "-m", "dashboard.terminal", "--plain", "--seconds", "0.2", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "subscribed to microscopy/v1/+/+/#" in done.stdout
