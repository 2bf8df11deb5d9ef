"""The page's settings, and where they are read from.

Order of precedence: command line, environment, systemd credentials, TOML file, defaults; as with the agent.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict
from typing_extensions import Self

from collector.settings import PictureSettings
from common.arguments import UserPath, default_state_dir
from common.settings import Form, Tree, layers_of, settled, several
from contract.topic_words import TopicWord, TopicWordOrAny
from dashboard.options import ENV_PREFIX
from mqttlink.settings import BrokerSettings, PemFile, Section

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Names of this computer that no other reaches."""


def _host(host: str) -> str:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare.isprintable() or any(mark in bare for mark in "/@?# "):
        raise ValueError("a name or an address alone")
    return bare


Names = Annotated[tuple[str, ...], BeforeValidator(several), NoDecode]


class WebTls(Section):
    """Encryption towards browsers."""

    cert: PemFile = Field(description="Certificate of this server, with those of the authorities between.")
    key: PemFile = Field(description="Its private key, without a passphrase; better as a systemd credential.")


class WebSettings(Section):
    """Where browsers reach the page, and who may use it."""

    host: Annotated[str, AfterValidator(_host)] = Field(
        "127.0.0.1", description="Address to listen on; any but loopback needs `web.tls`, or `web.behind_proxy`."
    )
    port: int = Field(8088, ge=0, le=65535, description="TCP port; 0: one that is free.")
    names: Names = Field(
        (), description="Names by which browsers call this server, beside `web.host` and those of loopback."
    )
    tls: WebTls | None = Field(None, description="Encryption; absent: plain HTTP.")
    behind_proxy: bool = Field(
        default=False,
        description="A reverse proxy on this computer or network speaks TLS with browsers; then the cookie is for "
        "HTTPS alone, and the proxy must set `Host`.",
    )
    sign_in: bool = Field(
        default=True,
        description="People sign in with a name and a password (`microscope-dashboard user add`). False: who reaches "
        "the page is a reviewer named `guest`, who sees who did what; on loopback only.",
    )
    session_hours: float = Field(12, gt=0, le=24 * 31, description="Hours after which a person signs in again.")
    language: Literal["en", "de"] = Field(
        "en", description="Language of the page where a browser asks for none of ours."
    )

    @property
    def is_secure(self) -> bool:
        """Whether browsers speak HTTPS with us."""
        return self.tls is not None or self.behind_proxy

    @model_validator(mode="after")
    def _is_not_bare(self) -> Self:
        """Refuse passwords in plain text on a network, and a page without sign-in there."""
        if self.host not in LOOPBACK and not self.is_secure:
            raise ValueError("host is not loopback: set web.tls, or web.behind_proxy where a proxy speaks TLS")
        if self.host not in LOOPBACK and not self.sign_in:
            raise ValueError("sign_in = false is for loopback alone")
        return self


def _in_state(name: str) -> str:
    return f"sqlite:///{default_state_dir() / name}"


class PagePictures(PictureSettings):
    """Pictures of cells and frames, which a single workstation fetches unless it is told not to."""

    fetch: bool = Field(default=True, description=PictureSettings.model_fields["fetch"].description)


class DashboardSettings(Section):
    """What the page shows, and to whom."""

    mqtt: BrokerSettings = Field(BrokerSettings(), description="The broker.")
    site: TopicWordOrAny = Field("+", description="Only this laboratory; `+`: every one.")
    device: TopicWordOrAny = Field("+", description="Only this agent; `+`: every one.")
    database: str = Field(
        default_factory=lambda: _in_state("collector.sqlite"),
        description="The collector's database, which is read and never written; as its own setting `database`.",
    )
    reviews: str = Field(
        "",
        description="Database of what people say of cells, SQLite or PostgreSQL as `database`, and never the same one. "
        "Default: `reviews.sqlite` in `state_dir`.",
    )
    classes: Names = Field(
        ("smudge", "artefact"),
        description="What a reviewer may call a cell beside normal and blast; such cells leave the share of blasts.",
    )
    collect: bool = Field(
        default=False,
        description="This process is the collector as well, for a single workstation; elsewhere it is "
        "`microscope-collect`.",
    )
    name: TopicWord = Field(
        "collector", description="With `collect`: name of the collector, as its own setting `name`."
    )
    pictures: PagePictures = Field(
        PagePictures(),
        description="With `collect`: pictures of cells and frames, as its own settings, but fetched by default.",
    )
    state_dir: UserPath = Field(
        default_factory=default_state_dir, description="Where users and their sessions live, for this user alone."
    )
    web: WebSettings = Field(WebSettings(), description="The page.")

    @property
    def reviews_url(self) -> str:
        """Address of the reviews' database."""
        return self.reviews or f"sqlite:///{self.state_dir / 'reviews.sqlite'}"


class _Environment(BaseSettings, DashboardSettings):
    """The settings as pydantic-settings reads variables."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", case_sensitive=False)


def _environment() -> Tree:
    return dict(EnvSettingsSource(_Environment)())


FORM = Form(DashboardSettings, ENV_PREFIX, _environment, secrets=("password", "database", "reviews"))


def load(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> DashboardSettings:
    """Read the settings.

    Args:
        config: a TOML file.
        overrides: settings from the command line, by dotted name.

    Raises:
        UsageError: a name is unknown, or a value does not fit; the text names it, where it stands, and the remedy.
    """
    return settled(FORM, layers_of(FORM, config, overrides or {}))
