"""The page of the system tells everybody what runs and what is stored, and administrators who did what."""

from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from contract.health_messages import AuditHead, Health, Status
from contract.messages import FrameReport
from contract.topics import Topics
from dashboard.link import Arrival
from dashboard.records import SlideKey
from dashboard.system import VERSION
from tests.dashboard.conftest import Keep, MakeReport
from tests.dashboard.pages.conftest import PASSWORD, Serve, sign_in
from tests.dashboard.pages.test_compare import words
from tests.waiting import until

NOW = datetime.now(timezone.utc)


@pytest.fixture
def reports(make_report: MakeReport) -> list[FrameReport]:
    """Numbers 1, 2 and 5 of an outbox."""
    return [make_report(seq) for seq in (1, 2, 5)]


@pytest.fixture
def client(serve: Serve, keep: Keep, reports: Iterable[FrameReport]) -> TestClient:
    return serve("system", database=keep(reports))


def hear(client: TestClient, *messages: Status | Health | bytes) -> None:
    """Have the page hear what an agent says."""
    watcher = client.app.state.web.watcher  # type: ignore[attr-defined]
    topics = Topics(prefix="system", site="lab", device="scope-1")
    for message in messages:
        topic = topics.status if isinstance(message, Status) else topics.health
        body = message if isinstance(message, bytes) else message.model_dump_json().encode()
        watcher._link.arrivals.put(Arrival(topic, body, retained=False, at=NOW))
    assert until(watcher._link.arrivals.empty, 10)


def health(lines: int) -> Health:
    audit = AuditHead(lines=lines, sha256=f"{lines}".rjust(64, "0"))
    return Health(at=NOW, frames=0, refused=0, cells=0, queued=0, engine="onnxruntime-int8", audit=audit)


def test_a_reader_sees_versions_what_is_stored_and_what_is_missing_and_nobody_elses_deeds(client: TestClient) -> None:
    sign_in(client, "rita")
    hear(client, Status(state="online", version="0.9.7"), b"no message at all")
    assert until(lambda: "0.9.7" in client.get("/system").text, 10)
    said = words(client.get("/system").text)
    assert f"Version {VERSION}" in said
    assert "another version than this server" in said
    assert "Reports 3" in said
    assert "3-4" in said
    assert "Messages that could not be read 1" in said
    assert "Who did what" not in said
    assert "sqlite://" not in said


def test_an_administrator_sees_sign_ins_failures_commands_and_readings(client: TestClient) -> None:
    client.post("/signin", data={"name": "ada", "password": "a wrong password"})
    client.post("/signin", data={"name": PASSWORD, "password": "ada"})
    word = sign_in(client, "ada")
    reviews = client.app.state.web.reviews  # type: ignore[attr-defined]
    reviews.begin(SlideKey("lab", "scope-1", "slide-7"), "ada", "reviewer", "call-0001")
    headers = {"x-csrf-token": word, "accept": "application/json"}
    web = client.app.state.web  # type: ignore[attr-defined]
    noted = web.deeds.command("ada", "lab/scope-1", "slide/start B-17")
    web.deeds.answered(noted, ok=False, said="the camera is gone")
    client.post("/signout", headers=headers)
    sign_in(client, "adam")
    text = client.get("/system").text
    said = words(text)
    for line in (
        "ada could not sign in",
        "a name that is nobody's could not sign in",
        "ada signed in",
        "ada command slide/start B-17 lab/scope-1 the camera is gone",
        "ada began: first reading lab/scope-1/slide-7",
        "ada signed out",
        "adam signed in",
    ):
        assert line in said
    assert PASSWORD not in text
    assert "sqlite://" in said


def test_a_command_is_noted_with_its_answer(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.live.commands.PATIENCE_S", 0.5)
    word = sign_in(client, "ada")
    hear(client, health(1))
    assert until(lambda: "scope-1" in client.get("/agents").text)
    headers = {"x-csrf-token": word, "accept": "application/json"}
    answer = client.post("/agents/lab/scope-1/command/slide/start", data={"slide_id": "B-17"}, headers=headers)
    assert answer.status_code == 502
    [deed] = [one for one in client.app.state.web.deeds.latest(9) if one.kind == "command"]  # type: ignore[attr-defined]
    assert (deed.person, deed.about, deed.said, deed.ok) == ("ada", "lab/scope-1", "slide/start B-17", False)
    assert "no answer has come" in deed.answer


def test_a_command_that_can_not_be_noted_is_not_asked(client: TestClient, tmp_path: Path) -> None:
    word = sign_in(client, "ada")
    hear(client, health(1))
    assert until(lambda: "scope-1" in client.get("/agents").text)
    (tmp_path / "state" / "deeds.sqlite").write_bytes(b"damaged by a disk, and longer than one page of it" * 100)
    headers = {"x-csrf-token": word, "accept": "application/json"}
    answer = client.post("/agents/lab/scope-1/command/slide/stop", headers=headers)
    assert answer.status_code == 503
    assert "what people did" in answer.json()["error"]


def test_an_audit_log_that_went_back_is_an_alarm_with_the_hash_to_look_for(client: TestClient) -> None:
    sign_in(client, "adam")
    hear(client, health(90))
    assert until(lambda: "It only grows" in client.get("/system").text, 10)
    hear(client, health(40))
    assert until(lambda: "It went back" in client.get("/system").text, 10)
    said = words(client.get("/system").text)
    assert "It went back: 90 lines at" in said
    assert f"microscope-agent audit verify --head {'90'.rjust(64, '0')}" in said


def test_a_store_that_is_away_hides_nothing_else(serve: Serve) -> None:
    client = serve("system-away")
    sign_in(client, "adam")
    answer = client.get("/system")
    assert answer.status_code == 200
    said = words(answer.text)
    assert "start the collector first" in said
    assert "adam signed in" in said


def test_without_sign_in_the_person_at_the_computer_sees_who_did_what_and_takes_back_no_signature_of_others(
    serve: Serve, keep: Keep, make_report: MakeReport
) -> None:
    client = serve("system", database=keep([make_report(1)]), sign_in=False)
    web = client.app.state.web  # type: ignore[attr-defined]
    web.deeds.answered(web.deeds.command("guest", "lab/scope-1", "slide/start B-17"), ok=True, said="")
    key = SlideKey("lab", "scope-1", "slide-7")
    web.reviews.begin(key, "ada", "reviewer", "call-0001")
    said = words(client.get("/system").text)
    assert "guest command slide/start B-17 lab/scope-1 done" in said
    assert "sqlite://" in said
    headers = {"x-csrf-token": web.guest.csrf, "accept": "application/json"}
    freed = {"reading": "1", "call_id": "call-0002", "reason": "it takes too long"}
    answer = client.post("/slides/lab/scope-1/slide-7/review/seal", json=freed, headers=headers)
    assert (answer.status_code, answer.json()["why"]) == (409, "not_yours")
