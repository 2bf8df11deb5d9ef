"""What one agent is asked for, and what its answers bring."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import pytest

from collector.asking import AWAY_S, BUSY_S, DEAF_S, EVERY_S, LARGEST_PICTURE, MOST_IDS, SLOW_S, SOON_S, AgentPictures
from collector.picture_store import Fetched, PictureTable, Wanted
from common.errors import StoreError
from contract.requests import GetPictures, PictureKind

AT = datetime(2026, 1, 31, tzinfo=timezone.utc)


class Table(PictureTable):
    """A table in memory: `have` is what reports speak of, by the number of the row."""

    def __init__(self, have: dict[int, list[str]]) -> None:
        self.have, self.kept, self.missing = have, dict[str, bytes](), list[str]()
        self.broken = False

    def wanted(self, device: str, low: int, high: int) -> list[Wanted]:
        assert device == "d"
        found = [name for row in range(high, low - 1, -1) for name in self.have.get(row, [])]
        return [Wanted(_kind(name), name, AT) for name in found if name not in {*self.kept, *self.missing}]

    def keep(self, device: str, fetched: Sequence[Fetched]) -> None:
        assert device == "d"
        if self.broken:
            raise StoreError("locked")
        self.kept |= {one.wanted.name: one.data for one in fetched if one.info}
        self.missing += [one.wanted.name for one in fetched if not one.info]


def _kind(name: str) -> PictureKind:
    return "frame" if name.startswith("f") else "cell"


class Rig:
    """An agent that is asked, with a clock that is set by hand."""

    def __init__(self, have: dict[int, list[str]]) -> None:
        self.now = 0.0
        self.table = Table(have)
        self.agent = AgentPictures("d", "s", self.table, clock=lambda: self.now)
        self.newest = max(have, default=0)

    def ask(self) -> GetPictures | None:
        assert self.agent.is_due()
        return self.agent.request(self.newest)

    def answer(self, *pieces: Any, missing: Sequence[str] = (), left: Sequence[str] = ()) -> None:
        result = {"pictures": list(pieces), "missing": list(missing), "left": list(left)}
        self.agent.take(json.dumps({"command": "picture/get", "ok": True, "result": result}).encode())
        self.now += EVERY_S

    def refuse(self, code: str) -> None:
        error = {"code": code, "text": "no"}
        self.agent.take(json.dumps({"command": "picture/get", "ok": False, "error": error}).encode())

    def rests_s(self) -> float:
        before, self.now = self.now, self.now + 1e6
        assert self.agent.is_due()
        self.now = before
        return self.agent._again_at - before


def piece(name: str, data: bytes, *, offset: int = 0, total: int | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": name, "offset": offset, "total_bytes": len(data) if total is None else total,
        "data_base64": base64.b64encode(data).decode(), "media_type": "image/png", "width": 8, "height": 8,
        "um_per_pixel": 0.1, **changes,
    }  # fmt: skip


def ids(request: GetPictures | None) -> list[str]:
    return list(request.ids) if request else []


def test_the_newest_are_asked_for_first_and_what_comes_in_between_before_what_is_older() -> None:
    rig = Rig({1: ["a"], 300: ["b"], 900: ["c"]})
    assert ids(rig.ask()) == ["c"]
    rig.table.have[901], rig.newest = ["d"], 901
    rig.answer(piece("c", b"c"))
    assert ids(rig.ask()) == ["d"]
    rig.answer(missing=["d"])
    assert ids(rig.ask()) == ["b"]
    rig.answer(piece("b", b"b"))
    assert ids(rig.ask()) == ["a"]
    rig.answer(piece("a", b"a"))
    assert rig.ask() is None
    assert (rig.table.kept, rig.table.missing) == ({"c": b"c", "b": b"b", "a": b"a"}, ["d"])


def test_cells_and_frames_are_asked_for_apart_and_so_many_at_once() -> None:
    rig = Rig({1: [f"c{number}" for number in range(MOST_IDS + 1)] + ["f1"]})
    first = rig.ask()
    assert first is not None
    assert (first.kind, len(first.ids)) == ("cell", MOST_IDS)
    rig.answer(missing=first.ids)
    assert ids(rig.ask()) == [f"c{MOST_IDS}"]
    rig.answer(missing=[f"c{MOST_IDS}"])
    last = rig.ask()
    assert last is not None
    assert (last.kind, last.ids) == ("frame", ("f1",))


def test_pieces_are_put_together_and_what_is_left_is_asked_for_with_the_offset() -> None:
    rig = Rig({1: ["none", "early", "big", "small"]})
    rig.ask()
    rig.answer(piece("big", b"one", total=6), missing=["none"], left=["big", "small", "early"])
    again = rig.ask()
    assert again is not None
    assert (again.ids[0], again.offset, set(again.ids)) == ("big", 3, {"big", "early", "small"})
    rig.answer(piece("big", b"two", offset=3, total=6), piece("small", b"s"), left=["early"])
    assert rig.table.kept == {"big": b"onetwo", "small": b"s"}
    last = rig.ask()
    assert last is not None
    assert (last.ids, last.offset) == (("early",), 0)


def test_a_piece_of_another_place_or_of_what_nobody_asked_for_is_passed_over() -> None:
    rig = Rig({1: ["a"]})
    rig.ask()
    rig.answer(piece("a", b"x", offset=5, total=6), piece("stranger", b"y"), left=["a"])
    assert (rig.table.kept, rig.table.missing) == ({}, [])
    rig.now += SOON_S
    assert ids(rig.ask()) == ["a"]


def test_a_picture_that_is_longer_than_any_is_given_up() -> None:
    rig = Rig({1: ["a"]})
    rig.ask()
    rig.answer(piece("a", b"x", total=LARGEST_PICTURE + 1), left=["a"])
    assert rig.table.missing == ["a"]


def test_what_is_not_ready_is_asked_for_a_little_later() -> None:
    rig = Rig({1: ["a"]})
    rig.ask()
    rig.answer(left=["a"])
    assert not rig.agent.is_due()
    assert rig.rests_s() == pytest.approx(SOON_S - EVERY_S)


@pytest.mark.parametrize(
    ("code", "seconds", "told"),
    [("busy", BUSY_S, ""), ("unknown", DEAF_S, "no"), ("not_allowed", DEAF_S, "no"), ("failed", DEAF_S, "no")],
)
def test_an_agent_that_hands_nothing_out_is_left_alone_for_a_while(code: str, seconds: float, told: str) -> None:
    rig = Rig({1: ["a"]})
    rig.ask()
    rig.refuse(code)
    assert rig.rests_s() == seconds
    assert rig.agent.complaint == (f"s/d hands out no pictures: {told}" if told else "")
    rig.now += seconds
    assert ids(rig.ask()) == ["a"]
    rig.answer(piece("a", b"a"))
    assert rig.agent.complaint == ""


def test_an_agent_that_was_asked_too_often_is_asked_less_often_from_then_on() -> None:
    """One of an earlier release carries out 5 commands a second, of whatever kind."""
    rig = Rig({1: [f"c{number}" for number in range(3 * MOST_IDS)]})
    rig.ask()
    assert rig.agent._again_at - rig.now == EVERY_S
    rig.refuse("busy")
    rig.now += BUSY_S
    request = rig.ask()
    assert request is not None
    assert rig.agent._again_at - rig.now == SLOW_S
    assert rig.agent.due_in() == float("inf")
    rig.answer(missing=request.ids)
    assert rig.agent.due_in() == pytest.approx(SLOW_S - EVERY_S)


def test_where_the_broker_does_not_take_so_much_less_is_asked_for() -> None:
    rig = Rig({1: [f"c{number}" for number in range(40)]})
    asked = []
    for _ in range(4):
        request = rig.ask()
        assert request is not None
        asked.append((len(request.ids), request.max_kb))
        rig.refuse("too_large")
        rig.now += EVERY_S
    assert asked == [(32, 1024), (8, 256), (2, 64), (1, 16)]
    assert rig.agent.complaint.startswith("s/d hands out no pictures")


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b"\xff", json.dumps({"command": "p", "ok": True, "result": {"pictures": [{}]}}).encode(),
     json.dumps({"command": "p", "ok": True, "result": {"pictures": [
         piece("a", b"a", media_type="text/html")]}}).encode(),
     json.dumps({"command": "p", "ok": True, "result": {"pictures": [
         piece("a", b"a", data_base64="<script>")]}}).encode()],
)  # fmt: skip
def test_an_answer_that_is_none_stores_nothing_and_is_told(payload: bytes) -> None:
    rig = Rig({1: ["a"]})
    rig.ask()
    rig.agent.take(payload)
    assert (rig.table.kept, rig.table.missing) == ({}, [])
    assert "s/d" in rig.agent.complaint
    assert rig.rests_s() == DEAF_S


def test_what_could_not_be_stored_is_asked_for_again() -> None:
    rig = Rig({1: ["a"]})
    rig.ask()
    rig.table.broken = True
    with pytest.raises(StoreError):
        rig.answer(piece("a", b"a"))
    rig.table.broken = False
    rig.now += EVERY_S
    assert ids(rig.ask()) == ["a"]


def test_an_agent_that_does_not_answer_is_asked_again_later() -> None:
    rig = Rig({1: ["a"]})
    rig.ask()
    assert not rig.agent.is_due()
    rig.agent.rest(AWAY_S)
    assert not rig.agent.is_due()
    rig.now += AWAY_S
    assert ids(rig.ask()) == ["a"]
