"""The collector's settings, and where they are read from.

Order of precedence: command line, environment, systemd credentials, TOML file, defaults; as with the agent.
"""

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from contract.arguments import default_state_dir
from contract.connection import BrokerSettings, TopicWord
from contract.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TopicWordOrAny = Annotated[str, Field(pattern=r"^(\+|[^/+#\s$][^/+#\s]{0,63})$")]
ENV_PREFIX = "MICROSCOPE_COLLECT_"
Tree: TypeAlias = dict[str, Any]


def _default_database() -> str:
    return f"sqlite:///{default_state_dir() / 'collector.sqlite'}"


class CollectorSettings(BaseSettings):
    """Where messages come from, and where they are stored."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_nested_delimiter="__", case_sensitive=False
    )

    name: TopicWord = Field(
        "collector", description="Name of this collector; the broker keeps its messages under it while it is away."
    )
    mqtt: BrokerSettings = Field(BrokerSettings(), description="The broker.")
    site: TopicWordOrAny = Field("+", description="Only this laboratory; `+`: every one.")
    device: TopicWordOrAny = Field("+", description="Only this agent; `+`: every one.")
    database: str = Field(
        default_factory=_default_database,
        description="Address of the database: `sqlite:////folder/file.sqlite`, or `postgresql://user@host/name` (its "
        "password from PGPASSWORD or the file ~/.pgpass).",
    )
    acknowledge: bool = Field(
        default=True, description="Tell the agents what is stored, so that they forget it; one collector must, no more."
    )
    batch: int = Field(500, ge=1, le=10_000, description="Messages in one transaction, at most.")
    window: int = Field(1000, ge=1, le=65535, description="Messages that the broker may send before one is stored.")
    session_days: float = Field(
        30, ge=0, le=49_000, description="Days that the broker keeps messages for this collector while it is away."
    )
    quarantine_rows: int = Field(10_000, ge=1, description="Malformed messages that are kept, at most.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing by itself: ``load`` merges the places."""
        return (init_settings,)


def load(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> CollectorSettings:
    """Read the settings.

    Args:
        config: a TOML file.
        overrides: settings from the command line, by dotted name.

    Raises:
        UsageError: a name is unknown, or a value does not fit; the text names it, where it stands, and the remedy.
    """
    layers = {
        f"file {config}": _file(config) if config else {},
        "systemd credential": _nested(_credentials()),
        "environment": _environment(),
        "command line": _nested(overrides or {}),
    }
    merged: Tree = {}
    for origin, layer in layers.items():
        for name in _flat(layer):
            _refuse_unknown(name, origin)
        _merge(merged, layer)
    try:
        return CollectorSettings.model_validate(merged)
    except ValidationError as cause:
        raise UsageError("; ".join(_explained(cause))) from cause


def _explained(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        name = ".".join(map(str, fault["loc"]))
        value = fault["input"]
        shown = isinstance(value, str | int | float) and not {"password", "database"} & set(name.split("."))
        yield f"the setting {name}: {fault['msg']}" + (f", not {value!r}" if shown else "")


def known_names(model: type[BaseModel] = CollectorSettings, above: str = "") -> Iterator[str]:
    """Every setting by its dotted name, the sections included."""
    for name, field in model.model_fields.items():
        yield f"{above}{name}"
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from known_names(part, f"{above}{name}.")


def _refuse_unknown(name: str, origin: str) -> None:
    known = list(known_names())
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise UsageError(f"there is no setting {name!r} ({origin}); the nearest is {near!r}")


def _environment() -> Tree:
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX):
            _refuse_unknown(variable.upper().removeprefix(ENV_PREFIX).lower().replace("__", "."), "environment")
    try:
        return dict(EnvSettingsSource(CollectorSettings)())
    except (SettingsError, RecursionError) as cause:
        raise UsageError(f"the environment: {cause}; write {ENV_PREFIX}MQTT__PORT=8883, for example") from cause


def _credentials() -> dict[str, str]:
    """What systemd's LoadCredential= hands over: one file for each setting, named by its dotted name."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        files = sorted(Path(folder).iterdir()) if folder else []
        return {path.name: path.read_text().rstrip("\n") for path in files if path.name in set(known_names())}
    except (OSError, UnicodeDecodeError) as cause:
        raise UsageError(f"CREDENTIALS_DIRECTORY: {folder} can not be read ({cause}); correct it") from cause


def _file(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as cause:
        raise UsageError(f"the settings file {path} can not be read: {cause}") from cause
    except (tomllib.TOMLDecodeError, RecursionError) as cause:  # the parser descends once for each bracket
        raise UsageError(f"the settings file {path} is not TOML: {cause}") from cause


def _nested(dotted: Mapping[str, str]) -> Tree:
    tree: Tree = {}
    for name, value in sorted(dotted.items()):
        *sections, last = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
            if not isinstance(branch, dict):
                raise UsageError(f"{name!r}: {section!r} was given a value of its own; give only one of the two")
        branch[last] = value
    return tree


def _merge(into: Tree, stronger: Tree) -> None:
    for key, value in stronger.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _flat(tree: Tree, above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"
