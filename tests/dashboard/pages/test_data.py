"""Programs are told what the page shows, in the form that the description gives."""

from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route
from starlette.testclient import TestClient

from dashboard.pages import data
from dashboard.pages.data_forms import MOST_AT_ONCE
from dashboard.pages.openapi import ROUTES, description
from tests.dashboard.conftest import Keep, MakeCell, MakeReport
from tests.dashboard.exports.examples import summary
from tests.dashboard.pages.conftest import Serve, sign_in
from tests.dashboard.test_records import slide

if TYPE_CHECKING:
    from contract.messages import FrameReport, SlideSummary

SLIDE = "/data/slides/lab/scope-1/slide-7"


@pytest.fixture
def client(serve: Serve, keep: Keep, make_report: MakeReport, make_cell: MakeCell) -> TestClient:
    """Ada's browser before a store with the slide of ``test_records``, and an empty one."""
    messages: list[FrameReport | SlideSummary] = [
        *slide(make_report, make_cell),
        summary(),
        summary(slide_id="slide-8", state="open"),
    ]
    made = serve("data", database=keep(messages))
    made.headers["x-csrf-token"] = sign_in(made, "ada")
    return made


def told(client: TestClient, address: str) -> Any:
    """An answer, which has the form that the description gives."""
    answer = client.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    path = address.partition("?")[0].replace("lab/scope-1/slide-7", "{site}/{device}/{slide}")
    schema = description()["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": description()["components"]}).validate(answer.json())
    return answer.json()


def test_every_data_route_is_described_and_no_other() -> None:
    assert [route.path for route in data.ROUTES if isinstance(route, Route)] == list(ROUTES)
    assert list(description()["paths"]) == list(ROUTES)


def test_the_description_is_what_the_server_gives(client: TestClient) -> None:
    assert client.get("/data/openapi.json").json() == description()


def test_a_slide_is_told_with_its_counts_and_its_refused_frames(client: TestClient) -> None:
    found = told(client, SLIDE)
    assert (found["site"], found["device"], found["slide_id"], found["state"]) == (
        "lab",
        "scope-1",
        "slide-7",
        "closed",
    )
    assert {name: found["counts"][name] for name in ("cells", "blast", "not_judged", "fraction")} == {
        "cells": 2,
        "blast": 1,
        "not_judged": 1,
        "fraction": 1.0,
    }
    assert [(one["source"], one["reasons"]) for one in found["refused"]] == [("smear-00003.png", ["wrong_scale"])]
    assert (found["frames"], found["models"], found["reviewed"]) == (3, ["blast-1"], None)
    assert [one["count_id"] for one in found["summaries"]] == ["r-s1"]


def test_cells_come_in_parts_that_each_name_the_next(client: TestClient) -> None:
    first = told(client, f"{told(client, SLIDE)['cells']}?limit=1")
    second = told(client, first["next"])
    assert [one["object_id"] for one in [*first["cells"], *second["cells"]]] == ["r-s1-c1", "r-s1-c3"]
    assert (first["count"], second["next"], first["newness"]) == (2, None, second["newness"])


def test_what_people_said_stands_beside_what_the_model_said(client: TestClient) -> None:
    review = "/slides/lab/scope-1/slide-7/review"
    client.post(f"{review}/begin")
    client.post(f"{review}/shown", json={"reading": "1", "object_ids": ["r-s1-c1"]})
    given = [{"object_id": "r-s1-c1", "kind": "correct", "label": "smudge", "note": "torn"}]
    said = client.post(f"{review}/verdicts", json={"reading": "1", "call_id": "call-0001", "given": given})
    assert said.status_code == 200, said.text
    found = told(client, SLIDE)
    assert (found["reviewed"]["apart"], found["reviewed"]["notes"]) == ({"smudge": 1}, ["torn"])
    assert (found["counts"]["blast"], found["reviewed"]["counts"]["blast"]) == (1, 0)
    cell = told(client, f"{SLIDE}/cells")["cells"][0]
    assert (cell["label_model"], cell["label_reviewed"], cell["label_final"]) == ("blast", "smudge", "smudge")


def test_a_reviewer_who_may_still_read_a_slide_gets_no_count_that_hides_what_another_has_signed(
    client: TestClient,
) -> None:
    """Neither data, page, report, table nor FHIR gives the model's counts as those after review."""
    review = "/slides/lab/scope-1/slide-7/review"
    client.post(f"{review}/begin")
    names = [one["object_id"] for one in told(client, f"{SLIDE}/cells")["cells"]]
    client.post(f"{review}/shown", json={"reading": "1", "object_ids": names})
    given = [{"object_id": name, "kind": "correct", "label": "smudge"} for name in names]
    client.post(f"{review}/verdicts", json={"reading": "1", "call_id": "call-0001", "given": given})
    assert client.post(f"{review}/seal", json={"reading": "1", "call_id": "call-0002"}).status_code == 200
    assert told(client, SLIDE)["reviewed"]["apart"] == {"smudge": len(names)}
    client.headers["x-csrf-token"] = sign_in(client, "adam")
    found = told(client, SLIDE)["reviewed"]
    assert (found["counts"], found["sealed"], found["apart"]) == (None, ["ada"], {})
    assert [one["name"] for one in found["signatures"]] == ["ada"]
    assert {one["label_final"] for one in told(client, f"{SLIDE}/cells")["cells"]} == {None}
    words = "ada signed a reading that you do not see"
    for path in ("", "/report", "/fhir.json"):
        assert words in client.get(f"/slides/lab/scope-1/slide-7{path}").text, path
    assert "smudge" not in client.get("/slides/lab/scope-1/slide-7/cells.csv").text
    assert client.post(f"{review}/unseal").status_code == 303
    assert told(client, SLIDE)["reviewed"]["apart"] == {"smudge": len(names)}


def test_a_reader_is_told_no_more_than_the_page_shows(client: TestClient) -> None:
    client.post("/slides/lab/scope-1/slide-7/review/begin")
    sign_in(client, "rita")
    assert told(client, SLIDE)["reviewed"] is None


def test_slides_are_found_as_on_the_page(client: TestClient) -> None:
    assert [one["slide_id"] for one in told(client, "/data/slides?words=slide-7%20LAB")["slides"]] == ["slide-7"]
    assert told(client, "/data/slides?model=another")["count"] == 0
    assert told(client, "/data/slides?until=2001-01-01")["count"] == 0
    assert told(client, "/data/slides?since=2001-01-01&until=2999-01-01")["count"] == 2
    assert told(client, "/data/slides?reviewer=ada")["count"] == 0
    client.post("/slides/lab/scope-1/slide-7/review/begin")
    assert [one["slide_id"] for one in told(client, "/data/slides?reviewer=ADA")["slides"]] == ["slide-7"]
    first = told(client, "/data/slides?limit=1&model=blast")
    second = told(client, first["next"])
    assert {one["slide_id"] for one in [*first["slides"], *second["slides"]]} == {"slide-7", "slide-8"}
    assert (first["count"], second["next"]) == (2, None)


def test_agents_are_told_as_they_are_known(client: TestClient) -> None:
    assert told(client, "/data/agents")["agents"] == []


@pytest.mark.parametrize(
    "asked",
    ["limit=0", f"limit={MOST_AT_ONCE + 1}", "from=-1", "from=1_0", "from=٣", "since=today", "word=x", "limit="],
)
def test_what_can_not_be_asked_is_refused_by_its_name(client: TestClient, asked: str) -> None:
    answer = client.get(f"/data/slides?{asked}")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(asked.partition("=")[0])


@pytest.mark.parametrize("path", [path.format(site="lab", device="scope-1", slide="slide-7") for path in ROUTES])
def test_a_program_that_is_not_signed_in_is_told_nothing(client: TestClient, path: str) -> None:
    client.cookies.clear()
    answer = client.get(path)
    assert (answer.status_code, list(answer.json())) == (401, ["error"])


@pytest.mark.parametrize(
    "path", ["/data/slides/lab/scope-1/slide-9", "/data/slides/lab/scope-2/slide-7/cells", "/data/x"]
)
def test_what_there_is_not_is_told_in_json(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_a_store_that_is_away_is_told_in_json(serve: Serve) -> None:
    client = serve("data")
    sign_in(client, "rita")
    answer = client.get("/data/slides")
    assert answer.status_code == 503
    assert "start the collector first" in answer.json()["error"]
