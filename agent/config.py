"""Reads the settings from every place where they may stand, and says where each came from."""

import difflib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, SettingsError

from agent.settings import ENV_PREFIX, Settings
from agent.site import agreed_scale, read_site
from agent.sources.opencv import shown
from contract.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Tree = dict[str, Any]
KINDS = ("directory", "video", "camera", "synthetic")
NOT_OURS = frozenset({"MICROSCOPE_DATA", "MICROSCOPE_DEEPAPL"})
"""Variables with our prefix that are no settings: they tell the tests where real images lie."""
COLLECTORS = f"{ENV_PREFIX}COLLECT_"
"""Prefix of the collector's settings, which may stand in the same environment."""


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
        for name, value, origin in self.shown():
            yield f"{name} = {value}  # {origin}"

    def shown(self) -> Iterator[tuple[str, str, str]]:
        """Of each setting name, value and origin; secrets masked."""
        for name, value in _flat(_plain(self.settings)):
            origin = next((layer.origin for layer in self.layers if _has(layer.values, name)), "default")
            yield name, _shown(value), origin


def load(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings.

    Args:
        config: a TOML file.
        overrides: settings from the command line, by dotted name.

    Raises:
        UsageError: a name is unknown, or a value does not fit; the text names it, where it stands, and the remedy.
    """
    return _settled(
        Layer("command line", _nested(overrides or {}, "command line")),
        Layer("environment", _environment()),
        Layer("systemd credential", _credentials()),
        Layer(f"file {config}", _file(config) if config else {}),
    )


def load_alone(overrides: Mapping[str, str]) -> Settings:
    """Settings from these values and the defaults; whatever else this machine says is not heard.

    Raises:
        UsageError: as ``load``.
    """
    return _settled(Layer("command line", _nested(overrides, "command line"))).settings


def _settled(*layers: Layer) -> Loaded:
    for layer in layers:
        _refuse_unknown((name for name, _ in _flat(layer.values)), layer.origin)
    layers = (*layers, *_site_layer(_merged(layers)))
    try:
        settings = Settings.model_validate(_merged(layers))
    except ValidationError as cause:
        raise UsageError(_explain(cause, layers)) from cause
    except RecursionError as cause:
        raise UsageError(f"the value of a setting nests too deep ({cause}); write it plainly") from cause
    _refuse_other_scale(settings)
    return Loaded(settings, layers)


def _merged(layers: Sequence[Layer]) -> Tree:
    merged: Tree = {}
    for layer in reversed(layers):
        _merge(merged, layer.values)
    return merged


def _site_layer(merged: Tree) -> Iterator[Layer]:
    """What the site file says of the source: the weakest layer; the rendered smear has a scale of its own."""
    path, source = merged.get("site_file"), merged.get("source")
    if path and isinstance(source, dict) and source.get("kind", "synthetic") != "synthetic":
        scale = read_site(Path(path)).um_per_pixel
        if scale:
            yield Layer(f"site file {path}", {"source": {"um_per_pixel": scale.value}})


def _refuse_other_scale(settings: Settings) -> None:
    if settings.source.kind != "synthetic":
        agreed_scale(settings.source.um_per_pixel, settings.site_file)


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
    named = {k for k in os.environ if k.upper().startswith(ENV_PREFIX)} - NOT_OURS
    ours = {k for k in named if not k.upper().startswith(COLLECTORS)}
    _refuse_unknown((k.upper().removeprefix(ENV_PREFIX).lower().replace("__", ".") for k in ours), "environment")
    try:
        return dict(EnvSettingsSource(Settings)())
    except (SettingsError, RecursionError) as cause:
        raise UsageError(
            f"the environment: {cause}; write a section as JSON, or one variable for each setting in it, "
            f"for example {ENV_PREFIX}MQTT__PORT=8883"
        ) from cause


def _credentials() -> Tree:
    """What systemd's LoadCredential= hands over: one file for each setting, named by its dotted name."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        files = sorted(Path(folder).iterdir()) if folder else []
    except OSError as cause:
        raise UsageError(f"CREDENTIALS_DIRECTORY: {folder} can not be read ({cause.strerror}); correct it") from cause
    ours = [path for path in files if path.name in known_names()]
    return _nested({path.name: _text(path, "credential").rstrip("\n") for path in ours}, "systemd credential")


def _file(path: Path) -> Tree:
    try:
        return tomllib.loads(_text(path, "settings file"))
    except (tomllib.TOMLDecodeError, RecursionError) as cause:  # the parser descends once for each bracket
        raise UsageError(f"the settings file {path} is not TOML: {cause}") from cause


def _text(path: Path, what: str) -> str:
    """The content of a file, without the mark that some editors put before UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise UsageError(f"the {what} {path} can not be read: {cause}") from cause


def _nested(dotted: Mapping[str, str], origin: str) -> Tree:
    tree: Tree = {}
    for name, value in sorted(dotted.items()):  # a section comes before what is in it
        *sections, last = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
            if not isinstance(branch, dict):
                raise UsageError(
                    f"{name!r} ({origin}): {section!r} was given a value of its own; give only one of the two"
                )
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
    """Whether a setting, or a part of a section, stands there."""
    return any(found == name or found.startswith(f"{name}.") for found, _ in _flat(tree))


def _refuse_unknown(names: Iterable[str], origin: str) -> None:
    known = known_names()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"there is no setting {name!r} ({origin}); the nearest is {near!r}")


def _explain(error: ValidationError, layers: tuple[Layer, ...]) -> str:
    lines = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"] if part not in KINDS)
        origin = next((layer.origin for layer in layers if _has(layer.values, name)), "default")
        foreign = fault["type"] == "extra_forbidden"  # its name is known, so another kind of source has it
        what = f"for this, set source.kind too ({', '.join(KINDS)})" if foreign else fault["msg"] + _given(name, fault)
        lines.append(f"the setting {name} ({origin}): {what}")
    return "; ".join(lines)


def _given(name: str, fault: ErrorDetails) -> str:
    """The value that does not fit, unless a secret is, or may be, in it."""
    value = fault["input"]
    secret = "password" in name or any(known.startswith(f"{name}.") for known in known_names())
    plain = isinstance(value, str | int | float)
    return f", not {value!r}" if plain and not secret and fault["type"] != "missing" else ""


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
    return "unset" if value is None else f'"{shown(str(value))}"'  # an address without its password
