"""The data routes answer as their description says, whatever they are asked, and never with a fault of the server."""

from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dashboard.pages.openapi import ROUTES
from tests.dashboard.conftest import Keep, MakeCell, MakeReport
from tests.dashboard.exports.examples import summary
from tests.dashboard.pages.conftest import PASSWORD, Listen
from tests.dashboard.test_records import slide

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
ignored_auth = pytest.importorskip("schemathesis.specs.openapi.checks").ignored_auth
HERE = {"site": "lab", "device": "scope-1", "slide": "slide-7"}
FEW, MANY = 30, 500
"""Requests to each route, of each kind."""


@pytest.fixture
def address(listen: Listen, keep: Keep, make_report: MakeReport, make_cell: MakeCell) -> str:
    """A server with a slide in its store."""
    database = keep([*slide(make_report, make_cell), summary()])
    return f"http://127.0.0.1:{listen('described', database=database).port}"


@pytest.fixture
def cookie(address: str) -> str:
    """What a program that is signed in sends."""
    form = {"name": "rita", "password": PASSWORD}
    answer = httpx2.post(f"{address}/signin", data=form)
    return f"session={answer.cookies['session']}"


@pytest.mark.parametrize("kind", ["positive", "negative"])
@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])
def test_no_question_gets_another_answer_than_is_described(address: str, cookie: str, kind: str, examples: int) -> None:
    described = schemathesis.openapi.from_url(f"{address}/data/openapi.json", headers={"cookie": cookie})
    described.config.generation.update(
        modes=[schemathesis.GenerationMode(kind)], with_security_parameters=False, allow_extra_parameters=False
    )
    for path in ROUTES:
        operation = described[path]["GET"]
        places = {one["in"] for one in operation.definition.raw["parameters"]}
        if places or kind == "positive":
            named = HERE if "path" in places and ("query" in places or kind == "positive") else None
            ask_all(operation, schemathesis.GenerationMode(kind), cookie, examples, named)


def ask_all(operation: Any, mode: Any, cookie: str, examples: int, named: dict[str, str] | None) -> None:
    """Ask so many things of a route, every second one of the slide that is there."""
    questions = operation.as_strategy(mode)
    if named:
        questions = st.one_of(questions, operation.as_strategy(mode, path_parameters=named))

    @settings(max_examples=examples, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    @given(questions)
    def ask(case: Any) -> None:
        # Who is not signed in is another test's: here it would ask thrice as often.
        case.call_and_validate(headers={"cookie": cookie}, excluded_checks=[ignored_auth])

    ask()
