"""The page where a person reviews cells, asked as its script asks."""

import re

import pytest
from starlette.testclient import TestClient

from bench.page import cell, report
from tests.dashboard.conftest import Keep
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
