"""Reads the settings from every place where they may stand, and says where each came from."""

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource

from agent.settings import ENV_PREFIX, Settings
from contract.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Tree = dict[str, Any]
NOT_OURS = frozenset({"MICROSCOPE_DATA", "MICROSCOPE_DEEPAPL"})
"""Variables with our prefix that are no settings: they tell the tests where real images lie."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place says."""

    origin: str
    values: Tree


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, and the layers that they were made of, the strongest first."""

    settings: Settings
    layers: tuple[Layer, ...]

    def lines(self) -> Iterator[str]:
        """One line for each setting: name, value, origin; secrets masked."""
        for name, value in _flat(_plain(self.settings)):
            origin = next((layer.origin for layer in self.layers if _has(layer.values, name)), "default")
            yield f"{name} = {_shown(value)}  # {origin}"


def load(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings.

    Args:
        config: a TOML file.
        overrides: settings from the command line, by dotted name.

    Raises:
        UsageError: a name is unknown, or a value does not fit; the text names it, where it stands, and the remedy.
    """
    layers = (
        Layer("command line", _nested(overrides or {})),
        Layer("environment", _environment()),
        Layer("systemd credential", _credentials()),
        Layer(f"file {config}", _file(config) if config else {}),
    )
    for layer in layers:
        _refuse_unknown(layer)
    merged: Tree = {}
    for layer in reversed(layers):
        _merge(merged, layer.values)
    try:
        return Loaded(Settings.model_validate(merged), layers)
    except ValidationError as cause:
        raise UsageError(_explain(cause, layers)) from cause


def known_names() -> list[str]:
    """Every setting by its dotted name, the sections included."""
    return sorted(set(_names(Settings)))


def _names(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{above}{name}"
        for inner in _models_in(field.annotation):
            yield from _names(inner, f"{above}{name}.")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _environment() -> Tree:
    ours = {k for k in os.environ if k.upper().startswith(ENV_PREFIX)} - NOT_OURS
    raw = {k.upper().removeprefix(ENV_PREFIX).lower().replace("__", "."): os.environ[k] for k in ours}
    _refuse_unknown(Layer("environment", _nested(raw)))
    return dict(EnvSettingsSource(Settings)())


def _credentials() -> Tree:
    """What systemd's LoadCredential= hands over: one file for each setting, named by its dotted name."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    files = sorted(Path(folder).iterdir()) if folder else []
    return _nested({p.name: p.read_text().rstrip("\n") for p in files if p.name in known_names()})


def _file(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as cause:
        raise UsageError(f"the settings file {path} can not be read: {cause}") from cause
    except tomllib.TOMLDecodeError as cause:
        raise UsageError(f"the settings file {path} is not TOML: {cause}") from cause


def _nested(dotted: Mapping[str, str]) -> Tree:
    tree: Tree = {}
    for name, value in dotted.items():
        *sections, last = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[last] = value
    return tree


def _merge(into: Tree, stronger: Tree) -> None:
    for key, value in stronger.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value.copy() if isinstance(value, dict) else value


def _flat(tree: Tree, above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _has(tree: Tree, name: str) -> bool:
    return any(found == name for found, _ in _flat(tree))


def _refuse_unknown(layer: Layer) -> None:
    known = known_names()
    for name, _ in _flat(layer.values):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"there is no setting {name!r} ({layer.origin}); the nearest is {near!r}")


def _explain(error: ValidationError, layers: tuple[Layer, ...]) -> str:
    lines = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"] if part not in {"directory", "video", "camera", "synthetic"})
        origin = next((layer.origin for layer in layers if _has(layer.values, name)), "default")
        given = "" if fault["type"] == "missing" or "password" in name else f", not {fault['input']!r}"
        lines.append(f"the setting {name} ({origin}): {fault['msg']}{given}")
    return "; ".join(lines)


def _plain(model: BaseModel) -> Tree:
    values = ((name, getattr(model, name)) for name in type(model).model_fields)
    return {name: _plain(value) if isinstance(value, BaseModel) else value for name, value in values}


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return '"********"'
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return "unset" if value is None else f'"{value}"'
