"""The examples that `make install` puts in place say nothing that the programs do not understand."""

import re
from pathlib import Path

import pytest

from agent.config import load as load_agent
from agent.settings import Settings
from collector.settings import CollectorSettings
from collector.settings import load as load_collector
from common.errors import UsageError
from common.settings import known_names

UNITS = Path(__file__).parents[1] / "systemd"
KNOWN = {"agent": known_names(Settings), "collect": known_names(CollectorSettings)}


@pytest.mark.parametrize("name", KNOWN)
def test_each_credential_of_a_unit_has_the_name_of_a_setting(name: str) -> None:
    unit = (UNITS / f"microscope-{name}.service").read_text()
    credentials = re.findall(r"^# LoadCredential=([^:]+):/", unit, re.MULTILINE)
    assert {"mqtt.password", "mqtt.tls.key"} <= set(credentials) <= set(KNOWN[name])


def test_each_variable_of_the_environment_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROSCOPE_SOURCE__UM_PER_PIXEL", "0.1")
    variables = dict(re.findall(r"^# (MICROSCOPE_\w+)=(\S+)$", (UNITS / "environment").read_text(), re.MULTILINE))
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    agent, collector = load_agent(UNITS / "agent.toml").settings, load_collector(UNITS / "collector.toml")
    heard = {agent.device, agent.mqtt.host, collector.mqtt.host}
    assert heard == set(variables.values()) != set()


def test_the_example_does_not_claim_a_scale_that_nobody_measured() -> None:
    with pytest.raises(UsageError, match=r"source\.um_per_pixel is given nowhere.*`microscope-agent calibrate scale`"):
        load_agent(UNITS / "agent.toml")


def test_what_the_example_of_the_agent_leaves_open_is_understood(tmp_path: Path) -> None:
    said = (UNITS / "agent.toml").read_text()
    path = tmp_path / "agent.toml"
    path.write_text(re.sub(r"^# (um_per_pixel = .*|\[metrics\]|port = .*)$", r"\1", said, flags=re.MULTILINE))
    settings = load_agent(path).settings
    assert (settings.source.um_per_pixel, settings.metrics.port) == (0.1, 9464)
