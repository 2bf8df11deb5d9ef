"""The page of one microscope: what stands beside what, and what it offers."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from starlette.testclient import TestClient

from contract.health_messages import Status
from contract.messages import FrameReport, Message
from dashboard.link import Arrival
from dashboard.live.fleet import AgentKey
from dashboard.live.views import View
from dashboard.web import Web
from tests.dashboard.conftest import MakeReport
from tests.dashboard.pages.conftest import Serve, sign_in

KEY = AgentKey("lab", "scope-1")
NOW = datetime.now(timezone.utc)


@pytest.fixture
def client(serve: Serve) -> TestClient:
    """A reviewer's browser."""
    made = serve("live")
    sign_in(made, "ada")
    return made


def web_of(client: TestClient) -> Web:
    web: Web = client.app.state.web  # type: ignore[attr-defined]
    return web


def hear(client: TestClient, name: str, message: Message, at: datetime = NOW) -> None:
    """Let the page hear a message of the agent."""
    arrival = Arrival(f"live/v1/lab/scope-1/{name}", message.model_dump_json().encode(), retained=False, at=at)
    assert web_of(client).watcher._fleet.take(arrival)


def look(client: TestClient, report: FrameReport | None = None, trouble: str = "") -> None:
    """Let the page have a picture of a frame."""
    name = report.frame.id if report else "run-1"
    web_of(client).views._views[KEY] = View(b"\xff\xd8", name, report, trouble)


def parts(client: TestClient) -> tuple[str, str]:
    """The figure, and what stands beside it."""
    page = client.get("/agents/lab/scope-1").text
    figure, _, beside = page.partition("</figure>")
    return figure.partition("<figure")[2], beside


def test_the_text_under_a_picture_is_of_its_frame_and_the_count_says_that_it_is_ahead(
    client: TestClient, make_report: MakeReport
) -> None:
    first, second = make_report(1), make_report(2, cells=[])
    hear(client, "frame", first, NOW - timedelta(seconds=2))
    hear(client, "frame", second)
    look(client, first)
    figure, beside = parts(client)
    assert "frame=run-00000001" in figure
    assert "Frame 1 (smear-00001.png)" in figure
    assert f'data-at="{(NOW - timedelta(seconds=2)).isoformat()}"' in figure, "when this frame's report came"
    assert figure.count('class="chip normal"') == figure.count("<rect") == 1
    assert "smear" not in beside, "nothing beside the picture is of another frame"


def test_without_a_picture_the_latest_frame_is_told_of(client: TestClient, make_report: MakeReport) -> None:
    hear(client, "frame", make_report(3))
    figure, _ = parts(client)
    assert "Frame 3 (smear-00003.png)" in figure
    assert "<image" not in figure


def test_a_frame_whose_report_was_not_heard_has_the_age_that_the_agent_s_clock_gives_it(
    client: TestClient, make_report: MakeReport
) -> None:
    hear(client, "frame", make_report(2))
    old = make_report(1)
    look(client, old)
    assert f'data-at="{old.frame.captured_at.isoformat()}"' in parts(client)[0]


@pytest.mark.parametrize(
    ("state", "why", "old"),
    [
        (
            "stopped",
            "The microscope was stopped and takes no commands.",
            "This is the last picture: the microscope was",
        ),
        ("offline", "The microscope is offline and takes no commands.", "This is the last picture: the microscope is"),
    ],
)
def test_a_microscope_that_is_not_there_offers_no_command_and_no_rate_and_says_why(
    client: TestClient, make_report: MakeReport, state: Any, why: str, old: str
) -> None:
    now = datetime.now(timezone.utc)
    hear(client, "status", Status(state="online"), now)
    for seq in (1, 2, 3):
        hear(client, "frame", make_report(seq), now - timedelta(seconds=3 - seq))
    look(client, make_report(3), "no answer has come within 10 s")
    figure, beside = parts(client)
    assert "This picture is old: the microscope gives no newer one." in figure
    assert "1.0 a second" in beside
    assert '<fieldset id="commands">' in beside
    hear(client, "status", Status(state=state))
    figure, beside = parts(client)
    assert old in figure
    assert "no answer" not in figure
    assert '<fieldset id="commands" disabled>' in beside
    assert beside.count(why) == 2, "at the commands, and for the script that switches them"
    for page in (beside, client.get("/agents").text):
        assert "a second" not in page


def test_a_page_that_hears_nothing_says_what_to_do_before_it_says_why(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = web_of(client).watcher
    monkeypatch.setattr(type(watcher), "trouble", "nothing listens at 127.0.0.1:1; start the broker")
    yet = client.get("/agents").text
    assert "This page has heard nothing from any microscope yet. If that lasts, tell the IT person." in yet
    monkeypatch.setattr(watcher, "news_at", datetime(2026, 1, 31, 12, tzinfo=timezone.utc))
    told, why = (
        "This page hears nothing from any microscope since 2026-01-31 12:00:00 UTC: tell the IT person.",
        "Detail: nothing listens at 127.0.0.1:1; start the broker.",
    )
    page = client.get("/agents").text
    assert 0 < page.index(told) < page.index(why)
