"""The dashboard's settings, and where they are read from.

Order of precedence: command line, environment, systemd credentials, TOML file, defaults; as with the agent.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from common.settings import Form, Tree, layers_of, settled
from contract.topic_words import TopicWordOrAny
from dashboard.terminal.options import ENV_PREFIX, PASSWORD
from mqttlink.settings import BrokerSettings, Section


class WatchSettings(Section):
    """Which agents are shown, and the broker that knows them."""

    mqtt: BrokerSettings = Field(BrokerSettings(), description="The broker.")
    site: TopicWordOrAny = Field("+", description="Only this laboratory; `+`: every one.")
    device: TopicWordOrAny = Field("+", description="Only this agent; `+`: every one.")


class _Environment(BaseSettings, WatchSettings):
    """The settings as pydantic-settings reads variables."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", case_sensitive=False)


def _environment() -> Tree:
    """The variables of the dashboard; the password may stand in the agent's, which is shorter."""
    tree: Tree = dict(EnvSettingsSource(_Environment)())
    password, mqtt = os.environ.get(PASSWORD), tree.get("mqtt", {})
    if password and isinstance(mqtt, dict):
        tree["mqtt"] = {"password": password} | mqtt
    return tree


FORM = Form(WatchSettings, ENV_PREFIX, _environment)


def load(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> WatchSettings:
    """Read the settings.

    Args:
        config: a TOML file.
        overrides: settings from the command line, by dotted name.

    Raises:
        UsageError: a name is unknown, or a value does not fit; the text names it, where it stands, and the remedy.
    """
    return settled(FORM, layers_of(FORM, config, overrides or {}))
