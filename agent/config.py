"""Reads the settings from every place where they may stand, and says where each came from."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from agent.settings import ENV_PREFIX, Settings
from agent.site import agreed_scale, read_site
from common.arguments import named_path
from common.secrets import masked, masked_addresses
from common.settings import (
    Form,
    Layer,
    Tree,
    is_hidden,
    layer_of,
    layers_of,
    leaves,
    merged,
    origin_of,
    refuse_unknown,
    settled,
)

MASKED = '"********"'


class _Environment(BaseSettings, Settings):
    """The settings as pydantic-settings reads variables."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", case_sensitive=False)


def _environment() -> Tree:
    return dict(EnvSettingsSource(_Environment)())


FORM = Form(
    Settings,
    ENV_PREFIX,
    _environment,
    # what the tests read (real images, a seed), and what collector and dashboard do, in the same environment
    not_ours=re.compile(f"{ENV_PREFIX}(DATA|DEEPAPL|SEGWBC|SEED|(COLLECT|DASHBOARD|WATCH)_.*)"),
    secrets=("password", "uri"),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, and the layers that they were made of, the strongest first."""

    settings: Settings
    layers: tuple[Layer, ...]

    def lines(self) -> Iterator[str]:
        """One line for each setting: name, value, origin; secrets masked."""
        for name, value, origin in self.shown():
            yield f"{name} = {value}  # {origin}"

    def shown(self) -> Iterator[tuple[str, str, str]]:
        """Of each setting name, value and origin; secrets, and whatever a credential holds, masked."""
        for name, value in leaves(_plain(self.settings)):
            hidden = is_hidden(name, self.layers, FORM)
            told = masked(str(value)) if name == "source.uri" else value
            yield name, MASKED if hidden else _shown(told), origin_of(name, self.layers)


def load(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings.

    Args:
        config: a TOML file.
        overrides: settings from the command line, by dotted name.

    Raises:
        UsageError: a name is unknown, or a value does not fit; the text names it, where it stands, and the remedy.
    """
    return _loaded(*layers_of(FORM, config, overrides or {}))


def load_alone(overrides: Mapping[str, str]) -> Settings:
    """Settings from these values and the defaults; whatever else this machine says is not heard.

    Raises:
        UsageError: as ``load``.
    """
    given = layer_of(overrides, "command line")
    refuse_unknown(given, FORM)
    return _loaded(given).settings


def _loaded(*layers: Layer) -> Loaded:
    layers = (*layers, *_site_layer(merged(layers)))
    settings = settled(FORM, layers)
    _refuse_other_scale(settings)
    return Loaded(settings, layers)


def _site_layer(values: Tree) -> Iterator[Layer]:
    """What the site file says of the source: the weakest layer; the rendered smear has a scale of its own."""
    path, source = values.get("site_file"), values.get("source")
    if path and isinstance(source, dict) and source.get("kind", "synthetic") != "synthetic":
        scale = read_site(named_path(path)).um_per_pixel
        if scale:
            yield Layer(f"site file {path}", {"source": {"um_per_pixel": scale.value}})


def _refuse_other_scale(settings: Settings) -> None:
    if settings.source.kind != "synthetic":
        agreed_scale(settings.source.um_per_pixel, settings.site_file)


def _plain(model: BaseModel) -> Tree:
    values = ((name, getattr(model, name)) for name in type(model).model_fields)
    return {name: _plain(value) if isinstance(value, BaseModel) else value for name, value in values}


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return MASKED
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return "unset" if value is None else f'"{masked_addresses(str(value))}"'
