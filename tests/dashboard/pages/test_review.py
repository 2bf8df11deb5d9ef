"""The page where a person reviews cells, asked as its script asks."""

import re

import pytest
from starlette.testclient import TestClient

from bench.page import cell, report
from tests.dashboard.conftest import Keep
from tests.dashboard.exports.examples import summary
from tests.dashboard.pages.conftest import Serve, by

REVIEW = "/slides/lab/scope-1/slide-7/review"


@pytest.fixture
def client(serve: Serve, keep: Keep) -> TestClient:
    """Ada's browser, with a reading begun of an open slide of five cells: blast, uncertain, and three normal ones."""
    shares = (0.9, 0.5, 0.1, 0.2, 0.3)
    address = keep([report(1, 1, [cell(1, 1, number, share) for number, share in enumerate(shares, start=1)])])
    made = by(serve("review", database=address), "ada")
    assert made.post(f"{REVIEW}/begin").status_code == 303
    return made


def named(text: str) -> list[str]:
    """Cells of a page or a part of one."""
    return re.findall(r'data-id="([^"]+)"', text)


def test_a_page_gets_the_cells_that_it_does_not_hold(client: TestClient) -> None:
    assert named(client.get(f"{REVIEW}/cards").text) == [f"run1-s1-c{number}" for number in (5, 6, 9, 8, 7)]
    held = {"held": {"run1-s1-": ["c5", "c9"], "": ["run1-s1-c6", "of no slide"]}}
    assert named(client.post(f"{REVIEW}/cards", json=held).text) == ["run1-s1-c8", "run1-s1-c7"]
    answer = client.post(f"{REVIEW}/cards", json={"held": ["run1-s1-c5"]})
    assert (answer.status_code, answer.json()["why"]) == (422, "malformed")


def test_a_refusal_to_sign_names_cells_as_the_page_does_in_the_language_of_who_signs(client: TestClient) -> None:
    asked = {"reading": "1", "call_id": "call-0001", "check": True}
    answer = client.post(f"{REVIEW}/seal", json=asked, headers={"accept-language": "de", "accept": "application/json"})
    assert (answer.status_code, answer.json()["why"]) == (409, "unreviewed")
    assert answer.json()["error"].startswith("1 unsichere Zelle nicht durchgesehen: c6.")


def test_the_review_of_an_open_slide_says_so_and_leads_to_its_microscope(client: TestClient, keep: Keep) -> None:
    keep([summary(count_id="run1-s1", state="open", ended_at=None)])
    assert 'id="is-open"' in (text := client.get(REVIEW).text)
    assert 'href="/agents/lab/scope-1"' in text
    keep([summary(count_id="run1-s1")])
    assert 'id="is-open"' not in client.get(REVIEW).text


def test_the_order_says_like_which_cell_it_is_and_stays_so_when_it_is_applied_again(client: TestClient) -> None:
    for question in ("like=run1-s1-c9", "order=like:run1-s1-c9"):
        text = client.get(f"{REVIEW}?{question}").text
        assert '<option value="like:run1-s1-c9" selected>cells like c9</option>' in text
        assert text.count(" selected>cells like") == 1
        assert named(text)[0] == "run1-s1-c9"
