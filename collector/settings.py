"""The collector's settings, and where they are read from.

Order of precedence: command line, environment, systemd credentials, TOML file, defaults; as with the agent.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from collector.options import ENV_PREFIX
from common.arguments import default_state_dir
from common.settings import Form, Tree, layers_of, settled
from contract.topic_words import TopicWord, TopicWordOrAny
from mqttlink.settings import BrokerSettings, Section


def _default_database() -> str:
    return f"sqlite:///{default_state_dir() / 'collector.sqlite'}"


class PictureSettings(Section):
    """Pictures of cells and frames, fetched from the agents that keep them."""

    fetch: bool = Field(
        default=False,
        description="Fetch the pictures of the cells and frames that are stored, by the agents' command `picture/get`; "
        "agents must keep them (their `pictures.keep`). `docs/privacy.md` says what that means.",
    )
    max_mb: int = Field(
        2048, ge=4, description="Bound of all pictures in the database, MiB; beyond, the oldest are deleted."
    )
    days: float = Field(365, gt=0, description="Days since its capture after which a picture is deleted.")


class CollectorSettings(Section):
    """Where messages come from, and where they are stored."""

    name: TopicWord = Field(
        "collector", description="Name of this collector; the broker keeps its messages under it while it is away."
    )
    mqtt: BrokerSettings = Field(BrokerSettings(), description="The broker.")
    site: TopicWordOrAny = Field("+", description="Only this laboratory; `+`: every one.")
    device: TopicWordOrAny = Field("+", description="Only this agent; `+`: every one.")
    database: str = Field(
        default_factory=_default_database,
        description="Address of the database: `sqlite:////folder/file.sqlite`, or `postgresql://user@host/name` (its "
        "password from PGPASSWORD or the file ~/.pgpass). Default: `collector.sqlite` in the service's state folder, "
        "and without a service in `~/.local/state/microscope-agent` (`$XDG_STATE_HOME`).",
    )
    acknowledge: bool = Field(
        default=True, description="Tell the agents what is stored, so that they forget it; one collector must, no more."
    )
    batch: int = Field(500, ge=1, le=10_000, description="Messages in one transaction, at most.")
    window: int = Field(1000, ge=1, le=65535, description="Messages that the broker may send before one is stored.")
    session_days: float = Field(
        30, ge=0, le=49_000, description="Days that the broker keeps messages for this collector while it is away."
    )
    pictures: PictureSettings = Field(PictureSettings(), description="Pictures of cells and frames.")
    quarantine_rows: int = Field(
        10_000,
        ge=1,
        description="Most `malformed` and `refused` messages that are kept in `quarantine`; older ones are "
        "deleted. `conflict` is never deleted.",
    )


class _Environment(BaseSettings, CollectorSettings):
    """The settings as pydantic-settings reads variables."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", case_sensitive=False)


def _environment() -> Tree:
    return dict(EnvSettingsSource(_Environment)())


FORM = Form(CollectorSettings, ENV_PREFIX, _environment, secrets=("password", "database"))


def load(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> CollectorSettings:
    """Read the settings.

    Args:
        config: a TOML file.
        overrides: settings from the command line, by dotted name.

    Raises:
        UsageError: a name is unknown, or a value does not fit; the text names it, where it stands, and the remedy.
    """
    return settled(FORM, layers_of(FORM, config, overrides or {}))
