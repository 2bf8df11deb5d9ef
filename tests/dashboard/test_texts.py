"""Every language has the same texts, and writes numbers and days as its readers do."""

from datetime import datetime, timezone
from string import Formatter
from typing import get_args

import pytest

from common.errors import UsageError
from contract.labels import LABELS
from contract.messages import Reason
from contract.remedies import REMEDIES
from contract.types import Doubt
from dashboard import texts
from dashboard.texts import FALLBACK, LANGUAGES, Texts, texts_of

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_keys_with_the_same_places_for_values(language: str) -> None:
    english, own = texts_of(FALLBACK), texts_of(language)
    assert list(own) == list(english)
    assert {key: places(text) for key, text in own.items()} == {key: places(text) for key, text in english.items()}
    assert "" not in own.values()


def test_a_text_that_a_language_lacks_is_english(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = texts.texts_of
    monkeypatch.setattr(texts, "texts_of", lambda code: {k: v for k, v in plain(code).items() if code == FALLBACK})
    assert Texts.load("de").get("label.not_judged") == "not judged"
    monkeypatch.undo()
    assert Texts.load("de").get("label.not_judged") == "nicht beurteilt"


def test_a_language_that_is_not_there_is_refused_by_its_name_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"'fr'; choose one of de, en"):
        Texts.load("fr")


@pytest.mark.parametrize(("language", "said"), [("en", "12.5 % 1,234,567"), ("de", "12,5 % 1.234.567")])
def test_numbers_have_the_marks_of_the_language(language: str, said: str) -> None:
    t = Texts.load(language).get
    assert f"{t('format.percent', share=12.5)} {t('format.number', count=1234567)}" == said


def test_values_that_are_text_stay_as_they_are() -> None:
    assert Texts("de", {"a": "{name}"}, Texts.load("de")._writer).get("a", name="smear-1.5,2.png") == "smear-1.5,2.png"


@pytest.mark.parametrize(("language", "said"), [("en", "2026-01-31 12:00 UTC"), ("de", "31.01.2026 12:00 UTC")])
def test_times_are_written_as_readers_do(language: str, said: str) -> None:
    assert Texts.load(language).get("format.moment", at=NOON) == said


def test_no_german_text_writes_a_day_as_exports_do() -> None:
    assert not {key: text for key, text in texts_of("de").items() if "%Y-" in text}


@pytest.mark.parametrize(
    "word", ["Lesung", "gelesen haben", "Schlichtung", "Notiz", "Berichtigung", "abgelehnt", "Ziehung"]
)
def test_german_has_one_word_for_one_thing(word: str) -> None:
    """A person's reading is a Durchsicht, what settles two a Schiedsspruch, what people change a Korrektur."""
    assert not {key: text for key, text in texts_of("de").items() if word.lower() in text.lower()}


@pytest.mark.parametrize(("count", "said"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells")])
def test_a_text_with_forms_is_chosen_by_the_count(count: int, said: str) -> None:
    forms = {"cells.one": "{count} cell", "cells.other": "{count} cells"}
    assert Texts("en", forms, Texts.load("en")._writer).get("cells", count=count) == said


def test_a_key_that_nobody_has_is_a_fault_of_the_program() -> None:
    with pytest.raises(KeyError, match=r"printed\.nothing"):
        Texts.load("en").get("printed.nothing")


def test_a_word_that_a_newer_agent_sends_is_told_as_it_is() -> None:
    assert Texts.load("de").word("reason", "upside_down") == "upside down"
    assert Texts.load("de").word("reason", "out_of_focus") == "unscharf"


def test_every_word_of_the_messages_has_a_text() -> None:
    english = set(texts_of(FALLBACK))
    for table, words in {
        "label": LABELS,
        "reason": get_args(Reason),
        "remedy": get_args(Reason),
        "flag": ("edge", *get_args(Doubt)),
    }.items():
        assert {key for key in english if key.startswith(f"{table}.")} == {f"{table}.{word}" for word in words}


def test_the_remedies_are_those_that_the_agent_gives() -> None:
    english = texts_of(FALLBACK)
    assert {reason: english[f"remedy.{reason}"] for reason in REMEDIES} == REMEDIES
