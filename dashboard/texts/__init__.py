"""What pages and prints say, by key and language: `en.toml` has every text, another language what it has translated.

A text has places for values as ``str.format`` has them: `{cells}`, `{share:.1f}`, `{at:%Y-%m-%d}`. Numbers have the
language's own decimal mark and, where they ask for it (`{cells:,}`), its own mark of thousands. A text that differs
with a number is a table of `one` and `other`, chosen by the value `count`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, Protocol

from common.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
FALLBACK = "en"
LANGUAGES: tuple[str, ...] = tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))
"""What can be loaded, by the codes of ISO 639-1."""
_FORMS = {"one", "other"}


class Translate(Protocol):
    """What gives the text of a key, filled with values: ``Texts.get`` of a language."""

    def __call__(self, key: str, /, **values: object) -> str:
        """The text; KeyError if there is none."""
        ...


class _Writer(Formatter):
    """Fills a text; numbers have the marks of the language."""

    def __init__(self, decimal: str, thousands: str) -> None:
        super().__init__()
        self._marks = str.maketrans({".": decimal, ",": thousands})

    def format_field(self, value: Any, format_spec: str) -> str:
        """A value by its specification."""
        written = format(value, format_spec)
        return written.translate(self._marks) if isinstance(value, int | float) else written


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one language; read once, shared by all threads.

    Attributes:
        language: its code, for `<html lang>`.
    """

    language: str
    _texts: Mapping[str, str] = field(repr=False)
    _writer: _Writer = field(repr=False)

    @classmethod
    def load(cls, language: str) -> "Texts":
        """The texts of a language; what it has not translated is English.

        Raises:
            UsageError: there is no such language; the text names those that there are.
        """
        if language not in LANGUAGES:
            raise UsageError(f"there are no texts in the language {language!r}; choose one of {', '.join(LANGUAGES)}")
        found = {**texts_of(FALLBACK), **texts_of(language)}
        return cls(language, found, _Writer(found["format.decimal"], found["format.thousands"]))

    def get(self, key: str, /, **values: object) -> str:
        """A text filled with values.

        Args:
            key: table and name, with a dot between: `printed.title`.
            values: for its places; `count` chooses between `one` and `other`.

        Raises:
            KeyError: no language has the key, or a place has no value.
        """
        form = f"{key}.{'one' if values.get('count') == 1 else 'other'}"
        text = self._texts[form if form in self._texts else key]
        return self._writer.vformat(text, (), values)

    def word(self, table: str, name: str, otherwise: str | None = None) -> str:
        """What a name of the messages is called, as a reason or a flag; of `label` a class of the laboratory too.

        Args:
            table: such as `reason`.
            name: as the messages have it; a newer agent may send one that nobody has translated yet.
            otherwise: what is said of such a one; None: the name with spaces.
        """
        key = f"{table}.{name}"
        if table == "label" and key not in self._texts:  # a class of the laboratory, which may have a text
            key = f"class.{name}"
        return self._texts.get(key, name.replace("_", " ") if otherwise is None else otherwise)


@cache
def texts_of(language: str) -> Mapping[str, str]:
    """Every text of a language's own file by its key; those with forms once for each, as `key.one` and `key.other`."""
    return dict(_flat("", tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))))


def _flat(above: str, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The texts of a table and of those in it."""
    texts: list[tuple[str, str]] = []
    for name, value in found.items():
        texts += [(above + name, value)] if isinstance(value, str) else _flat(f"{above}{name}.", value)
    return texts
