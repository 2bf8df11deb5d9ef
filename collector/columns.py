"""The summary of a slide as columns of a table: each field one, those of a part under the part's name."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from contract.messages import SlideSummary

_STORED = {"slide_id", "count_id"}
"""Fields that are columns of the database already."""


def summary_columns() -> list[str]:
    """Their names, in the order of the message's fields."""
    return [name for name, *_ in _fields(SlideSummary)]


def summary_values(summary: SlideSummary | None) -> list[Any]:
    """Their values in one summary; None where it has none, and everywhere if it could not be read."""
    return [_value(summary, path) for _, path in _fields(SlideSummary)]


def _fields(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each field that is no part itself: its column's name, and how it is reached."""
    for name, about in model.model_fields.items():
        path, part = (*above, name), _part_in(about.annotation)
        if part:
            yield from _fields(part, path)
        elif name not in _STORED:
            yield "_".join(path), path


def _part_in(annotation: Any) -> type[BaseModel] | None:
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _value(found: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        found = getattr(found, name, None)
    if isinstance(found, dict):
        return " ".join(f"{key}={count}" for key, count in found.items())
    return found
