"""Slides are found by who has read them, and two of them, or two models of one, are set side by side."""

import re
from collections.abc import Callable
from datetime import datetime, timezone
from html import unescape

import pytest
from starlette.testclient import TestClient

from contract.messages import CellReport, FrameReport, ModelInfo, Quality, SlideSummary
from dashboard.records import SlideKey
from dashboard.reviews.events import Given
from tests.dashboard.conftest import Keep, MakeCell, MakeReport
from tests.dashboard.pages.conftest import Serve, sign_in
from tests.dashboard.test_records import record_of

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
BOTH = {"slide": ["lab/scope-1/S-1", "lab/scope-1/S-2"]}


@pytest.fixture
def slide(make_report: MakeReport, make_cell: MakeCell) -> Callable[..., FrameReport]:
    """A frame of a slide: ``slide(number, name, model, *probabilities)``."""

    def made(number: int, name: str, model: str, *probabilities: float, source: str = "a.png") -> FrameReport:
        plain = make_report(number)
        cells: list[CellReport] = []
        for place, probability in enumerate(probabilities):
            box = plain.cells[0].box.model_copy(update={"x": 100 * place})
            cells.append(make_cell(f"run-{number}-{place}", f"r-s{number}-c{place}", probability, box=box))
        facts = {
            "slide_id": name,
            "frame": plain.frame.model_copy(update={"source": source, "captured_at": NOON}),
            "model": ModelInfo(id=model, sha256="0" * 64, engine="onnxruntime-int8"),
            "cells": cells,
            "quality": Quality(accepted=bool(cells), reasons=[] if cells else ["motion"]),
        }
        return plain.model_copy(update=facts)

    return made


def summary(name: str) -> SlideSummary:
    counts = {"frames": 1, "refused": 0, "cells": 0, "normal": 0, "blasts": 0, "uncertain": 0, "not_judged": 0}
    model = ModelInfo(id="blast-8", sha256="0" * 64, engine="onnxruntime-int8")
    whole = {"slide_id": name, "count_id": f"r-{name}", "state": "open", "started_at": NOON, "at": NOON, "jumps": 0}
    return SlideSummary.model_validate({**whole, **counts, "model": model})


@pytest.fixture
def client(serve: Serve, keep: Keep, slide: Callable[..., FrameReport]) -> TestClient:
    database = keep(
        [
            slide(1, "S-1", "blast-8", *[0.9] * 56, *[0.1] * 14),
            slide(2, "S-2", "blast-8", *[0.9] * 48, *[0.1] * 32),
            slide(3, "S-2", "blast-8", source="b.png"),
            slide(4, "S-3", "blast-7", 0.1, 0.9),
            slide(5, "S-3", "blast-8", 0.95, 0.9),
            slide(6, "S-4", "blast-7", 0.1, 0.9),
            *(summary(name) for name in ("S-1", "S-2", "S-3")),
        ]
    )
    return serve("compared", database=database)


def words(text: str) -> str:
    """What a page says, without its markup."""
    return unescape(" ".join(re.sub(r"<[^>]*>", " ", text).split()))


def test_two_slides_stand_side_by_side_with_the_interval_of_their_difference(client: TestClient) -> None:
    sign_in(client, "rita")
    said = words(client.get("/compare", params=BOTH).text)
    assert "+20.0 percentage points, the first less the second (95 % interval +5.2 to +33.4)" in said
    assert "Newcombe 1998" in said
    assert "1 frame, 0 of them not judged." in said
    assert "motion: 1" in said
    assert "not judged by the same models" not in said


def test_slides_of_other_models_are_compared_with_a_warning(client: TestClient) -> None:
    sign_in(client, "rita")
    said = words(client.get("/compare", params={"slide": ["lab/scope-1/S-1", "lab/scope-1/S-4"]}).text)
    assert "not judged by the same models" in said


@pytest.mark.parametrize(
    "chosen", [[], ["lab/scope-1/S-1"], ["lab/scope-1/S-1"] * 2, ["lab/scope-1/S-1", "S-2"], ["a/b/c"] * 5]
)
def test_anything_but_two_slides_is_refused_with_what_to_do(client: TestClient, chosen: list[str]) -> None:
    sign_in(client, "rita")
    answer = client.get("/compare", params={"slide": chosen})
    assert answer.status_code == 400
    assert "choose two" in answer.text
    assert '<a href="/slides">Back to the slides</a>' in answer.text


def test_a_slide_that_is_not_there_is_named(client: TestClient) -> None:
    sign_in(client, "rita")
    answer = client.get("/compare", params={"slide": ["lab/scope-1/S-1", "lab/scope-1/<b>"]})
    assert answer.status_code == 404
    assert "&lt;b&gt;" in answer.text


def test_a_cell_that_the_next_model_calls_something_else_is_listed(client: TestClient) -> None:
    sign_in(client, "rita")
    said = words(client.get("/slides/lab/scope-1/S-3/models").text)
    assert "2 cells were judged by both, in 1 pictures. 1 of them is called something else." in said
    assert "blast-7 normal 0.10 blast-8 blast 0.95 a.png" in said


def test_a_slide_of_one_model_has_no_flips(client: TestClient) -> None:
    sign_in(client, "rita")
    assert "One model has judged this slide." in client.get("/slides/lab/scope-1/S-1/models").text


def test_slides_are_found_by_who_reads_them(client: TestClient) -> None:
    sign_in(client, "rita")
    reviews = client.app.state.web.reviews  # type: ignore[attr-defined]
    reviews.begin(SlideKey("lab", "scope-1", "S-2"), "ada", "reviewer", "call-0001")

    def found(name: str) -> list[str]:
        return re.findall(r'href="/slides/lab/scope-1/([^"]*)"', client.get("/slides", params={"reviewer": name}).text)

    assert found("Ad") == ["S-2"]
    assert found("bob") == []


def corrects(client: TestClient, database: str) -> None:
    """Ada reads the first slide, calls a blast of it normal, and signs."""
    key = SlideKey("lab", "scope-1", "S-1")
    reviews = client.app.state.web.reviews  # type: ignore[attr-defined]
    record = record_of(database, key)
    assert record
    name = next(one.object_id for one in record.cells if one.label == "blast")
    reading = reviews.begin(key, "ada", "reviewer", "call-0001")
    reviews.mark_shown(record, "ada", "reviewer", reading, [name])
    reviews.give(record, "ada", "reviewer", reading, [Given(name, "correct", "normal")], call_id="call-0002")
    reviews.sign(record, "ada", "reviewer", reading, call_id="call-0003")


def test_a_comparison_says_by_which_counts_it_is_and_keeps_what_is_sealed(client: TestClient) -> None:
    """One slide is reviewed, the other is not; who may still read it sees no count with corrections."""
    corrects(client, client.app.state.web.settings.database)  # type: ignore[attr-defined]
    sign_in(client, "rita")
    said = words(client.get("/compare", params=BOTH).text)
    assert "+20.0 percentage points" in said
    assert "By what the models call the cells" in said
    assert "With the corrections +18.6 percentage points" in said
    assert "By what people call the cells after review" in said
    client.cookies.clear()
    sign_in(client, "adam")
    answer = client.get("/compare", params=BOTH)
    assert answer.status_code == 200
    assert "With the corrections +" not in words(answer.text)
    assert "ada signed a reading that you do not see" in words(answer.text)


def test_no_two_columns_of_a_table_have_nearly_the_same_name(client: TestClient) -> None:
    """`blast` is a count, and the share of them has a name of its own."""
    sign_in(client, "rita")
    for path in ("/slides", "/slides/lab/scope-1/S-3/models"):
        head = words(client.get(path).text.partition("<thead>")[2].partition("</thead>")[0])
        assert " Share of blasts" in head
        assert "Blasts" not in head


def test_who_is_not_signed_in_compares_nothing(client: TestClient) -> None:
    for path in ("/compare?slide=a/b/c&slide=a/b/d", "/slides/lab/scope-1/S-3/models", "/system"):
        assert client.get(path).status_code == 303
