"""A word of a topic is also a step of an address and of a path, and must be found there again."""

import re
from urllib.parse import urljoin

import pytest
from pydantic import TypeAdapter, ValidationError

from contract.topic_words import TopicWord, is_topic_word
from dashboard.paths import path_of

WORDS = TypeAdapter(TopicWord)
PATTERN = WORDS.json_schema()["pattern"]


@pytest.mark.parametrize("word", [".", ".."])
def test_what_a_browser_drops_from_an_address_is_no_word(word: str) -> None:
    """The page of a microscope of such a name could never be reached, however the name is escaped."""
    assert urljoin("http://page/", path_of("agents", word, "scope-1")) != f"http://page/agents/{word}/scope-1"
    assert not is_topic_word(word)
    assert re.match(PATTERN, word) is None
    with pytest.raises(ValidationError, match=r"is not \. or \.\."):
        WORDS.validate_python(word)


@pytest.mark.parametrize("word", ["...", ".a", "a.", "..a", "lab.example", "a..b", "-", "é"])
def test_dots_beside_anything_else_are_a_word_that_an_address_keeps(word: str) -> None:
    assert is_topic_word(word)
    assert re.match(PATTERN, word)
    path = path_of("agents", word, "scope-1")
    assert urljoin("http://page/", path) == f"http://page{path}"
