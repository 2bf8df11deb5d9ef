"""What may be a word of a topic: nothing that a broker, a database, an address or a terminal takes for another."""

import unicodedata
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

WORD = "1 to 64 characters, no space, no / + or #, nothing invisible, not beginning with $, and is not . or .."
"""What a ``TopicWord`` may be, in words."""
WORD_ERROR = "topic_word"
"""Type of pydantic's error for a text that is none."""
_PATTERN = r"^(?!\.\.?$)[^/+#$\s\x00-\x1f\x7f-\x9f][^/+#\s\x00-\x1f\x7f-\x9f]{0,63}$"
"""Nearly the same, for the JSON Schemas: a pattern can not name what is invisible."""
_LONGEST = 64
_OF_PATHS = frozenset({".", ".."})
"""What paths and addresses take for "here" and "above": a browser drops them, however they are written (`%2e%2e`), so
that the page of such a site, microscope or slide could never be reached."""
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
"""Unicode's categories of control and format characters, surrogates and separators."""

_NO_CHARACTERS, _LAST = range(0xFDD0, 0xFDF0), 0xFFFE
"""Numbers that are no characters, and the last two of every plane are none (Unicode, section 23.7)."""


def is_topic_word(text: str) -> bool:
    """Whether a text may be a site, a device, an epoch or any other word of a topic."""
    return 0 < len(text) <= _LONGEST and text not in _OF_PATHS and _is_clean(text)


@lru_cache(maxsize=4096)
def _is_clean(text: str) -> bool:
    """Every message of an agent names the same few words."""
    return text[0] != "$" and all(map(_is_visible, text))


def _is_visible(character: str) -> bool:
    if character in "/+#":
        return False
    code = ord(character)
    return not (code in _NO_CHARACTERS or code & _LAST == _LAST) and unicodedata.category(character) not in _INVISIBLE


def _topic_word(text: str) -> str:
    if not is_topic_word(text):
        raise PydanticCustomError(WORD_ERROR, "must have {words}", {"words": WORD})
    return text


TopicWord = Annotated[str, AfterValidator(_topic_word), Field(json_schema_extra={"pattern": _PATTERN})]
TopicWordOrAny = Annotated[str, AfterValidator(lambda text: text if text == "+" else _topic_word(text))]
"""A word, or `+` for any."""
