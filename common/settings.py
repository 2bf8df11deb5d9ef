"""How settings are read: from every place where they may stand, the stronger over the weaker.

What a program can be told is its own; the places, their order and the words for what is wrong are the same for all.
"""

import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from common.errors import UsageError
from common.secrets import masked_addresses

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)
CREDENTIAL = "systemd credential"
"""The origin of what systemd handed over."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place says."""

    origin: str
    values: Tree


@dataclass(frozen=True, slots=True)
class Form(Generic[Model]):
    """The settings of one program.

    Attributes:
        model: what they must fit.
        prefix: of their environment variables.
        environment: reads those variables; raises ValueError where one can not be read.
        not_ours: matches variables with this prefix that are no settings of this program.
        secrets: words in the names of settings whose values no error shows.
    """

    model: type[Model]
    prefix: str
    environment: Callable[[], Tree]
    not_ours: re.Pattern[str] = re.compile("(?!)")
    secrets: tuple[str, ...] = ("password",)


def layers_of(form: Form[Model], config: Path | None, overrides: Mapping[str, str]) -> tuple[Layer, ...]:
    """What every place says, the strongest first: command line, environment, systemd credentials, TOML file.

    Args:
        form: the program's settings.
        config: the TOML file.
        overrides: settings from the command line, by dotted name.

    Raises:
        UsageError: a place can not be read, or names a setting that there is not.
    """
    layers = (
        layer_of(overrides, "command line"),
        Layer("environment", _environment(form)),
        layer_of(_credentials(form), CREDENTIAL),
        Layer(f"file {config}", _file(config) if config else {}),
    )
    for layer in layers:
        refuse_unknown(layer, form)
    return layers


def layer_of(dotted: Mapping[str, str], origin: str) -> Layer:
    """A layer of settings given by dotted name; UsageError where one stands for both a value and a section."""
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
    return Layer(origin, tree)


def refuse_unknown(layer: Layer, form: Form[Model]) -> None:
    """Raise UsageError for a name that there is not, with the nearest one that there is."""
    _refuse_unknown((name for name, _ in leaves(layer.values)), layer.origin, form)


def merged(layers: Sequence[Layer]) -> Tree:
    """What the layers say together; the first of them is the strongest."""
    tree: Tree = {}
    for layer in reversed(layers):
        _merge(tree, layer.values)
    return tree


def settled(form: Form[Model], layers: Sequence[Layer]) -> Model:
    """The settings that the layers make.

    Raises:
        UsageError: a value does not fit; the text names it, where it stands, and the remedy.
    """
    try:
        return form.model.model_validate(merged(layers))
    except ValidationError as cause:
        raise UsageError("; ".join(_explained(fault, layers, form) for fault in cause.errors())) from cause
    except RecursionError as cause:
        raise UsageError(f"the value of a setting nests too deep ({cause}); write it plainly") from cause


def known_names(model: type[BaseModel]) -> list[str]:
    """Every setting by its dotted name, the sections included."""
    return sorted({name for name, _ in _fields(model)})


def paths_of(model: type[BaseModel]) -> frozenset[str]:
    """The settings that are a path and, whatever else is chosen, never anything else; by their dotted names."""
    kinds: dict[str, set[Any]] = {}
    for name, about in _fields(model):
        kinds.setdefault(name, set()).update(_plain_types(about.annotation))
    return frozenset(name for name, found in kinds.items() if found - {NoneType} == {Path})


def kinds_of(model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Settings that choose which others there are, with what each may be: those that tell the members of a union."""
    return {
        f"{name}.{chooser}": tuple(
            kind for part in _models_in(about.annotation) for kind in get_args(part.model_fields[chooser].annotation)
        )
        for name, about in _fields(model)
        if isinstance(chooser := about.discriminator, str)
    }


def is_hidden(name: str, layers: Iterable[Layer], form: Form[Model]) -> bool:
    """Whether a setting's value comes out of a credential, which nobody else may read; of a file only its path does."""
    return origin_of(name, layers) == CREDENTIAL and name not in paths_of(form.model)


def several(value: object) -> object:
    """A list that stands where only text can stand (environment, --set): JSON, or words with commas between."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [word.strip() for word in value.split(",") if word.strip()]


def leaves(tree: Tree, above: str = "") -> Iterator[tuple[str, Any]]:
    """Each value by its dotted name."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def origin_of(name: str, layers: Iterable[Layer]) -> str:
    """The strongest place that says something of a setting, or of a part of a section."""
    return next((layer.origin for layer in layers if _has(layer.values, name)), "default")


def _fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, about in model.model_fields.items():
        yield f"{above}{name}", about
        for inner in _models_in(about.annotation):
            yield from _fields(inner, f"{above}{name}.")


def _plain_types(annotation: Any) -> set[Any]:
    """What a value may be: the members of a union, without what `Annotated` adds."""
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return {kind for part in get_args(annotation) for kind in _plain_types(part)}
    return {annotation if get_origin(annotation) is None else get_origin(annotation)}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _environment(form: Form[Model]) -> Tree:
    named = {variable.upper() for variable in os.environ if not form.not_ours.fullmatch(variable.upper())}
    ours = {variable.removeprefix(form.prefix) for variable in named if variable.startswith(form.prefix)}
    _refuse_unknown((variable.lower().replace("__", ".") for variable in ours), "environment", form)
    try:
        return form.environment()
    except (ValueError, RecursionError) as cause:
        raise UsageError(
            f"the environment: {cause}; write a section as JSON, or one variable for each setting in it, "
            f"for example {form.prefix}MQTT__PORT=8883"
        ) from cause


def _credentials(form: Form[Model]) -> dict[str, str]:
    """What systemd's LoadCredential= hands over: one file for each setting, named by its dotted name.

    The file holds the value; for a setting that is a path, such as a key's, it is the file that is meant.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        files = sorted(Path(folder).iterdir()) if folder else []
    except OSError as cause:
        raise UsageError(f"CREDENTIALS_DIRECTORY: {folder} can not be read ({cause.strerror}); correct it") from cause
    known, paths = known_names(form.model), paths_of(form.model)
    return {
        path.name: str(path) if path.name in paths else _text(path, "credential").rstrip("\n")
        for path in files
        if path.name in known
    }


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


def _merge(into: Tree, stronger: Tree) -> None:
    for key, value in stronger.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value.copy() if isinstance(value, dict) else value


def _has(tree: Tree, name: str) -> bool:
    return any(found == name or found.startswith(f"{name}.") for found, _ in leaves(tree))


def _refuse_unknown(names: Iterable[str], origin: str, form: Form[Model]) -> None:
    known = known_names(form.model)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"there is no setting {name!r} ({origin}); the nearest is {near!r}")


def _explained(fault: ErrorDetails, layers: Sequence[Layer], form: Form[Model]) -> str:
    kinds = kinds_of(form.model)
    name = _name_at(fault["loc"], kinds)
    if fault["type"] == "missing":
        meaning = next(about.description for known, about in _fields(form.model) if known == name)
        return f"the setting {name} is given nowhere and must be: {str(meaning).rstrip('.')}"
    said = fault["msg"] + ("" if is_hidden(name, layers, form) else _given(name, fault, form))
    if fault["type"] == "extra_forbidden":  # its name is known, so it belongs to another kind
        choices = "; ".join(f"{chooser} too ({', '.join(found)})" for chooser, found in kinds.items())
        said = f"for this, set {choices}"
    return f"the setting {name} ({origin_of(name, layers)}): {said}"


def _name_at(place: tuple[int | str, ...], kinds: dict[str, tuple[str, ...]]) -> str:
    """The setting at a place in a model, where a section that has kinds is followed by the kind."""
    name, waiting = "", dict(kinds)
    for part in map(str, place):
        choices = {chooser: waiting[chooser] for chooser in waiting if chooser.rpartition(".")[0] == name}
        if chooser := next((chooser for chooser, choice in choices.items() if part in choice), ""):
            del waiting[chooser]
        else:
            name = f"{name}.{part}" if name else part
    return name


def _given(name: str, fault: ErrorDetails, form: Form[Model]) -> str:
    """The value that does not fit, unless a secret is, or may be, in it: a file's content where its path is asked."""
    section = any(known.startswith(f"{name}.") for known in known_names(form.model))
    secret = section or name in paths_of(form.model) or any(word in name for word in form.secrets)
    shown = isinstance(fault["input"], str | int | float) and not secret
    return f", not {masked_addresses(repr(fault['input']))}" if shown else ""
