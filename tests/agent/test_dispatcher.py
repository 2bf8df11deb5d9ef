"""The dispatcher that carries out commands, by itself: what it answers, notes and turns away."""

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire.dispatcher import BURST, MOST_WAITING, CommandDispatcher
from common.errors import OutboxError
from contract.requests import COMMANDS, Answer, Nothing, Restarted
from mqttlink.responses import MOST_WAITING as MOST_ANSWERS
from mqttlink.responses import Incoming, Reply, ResponseQueue, may_answer_on
from tests.waiting import until


class Register:
    """A dispatcher whose answers and notes are kept."""

    def __init__(self, **handlers: Callable[[Any], Any]) -> None:
        self.answers: list[Reply] = []
        self.notes: list[tuple[str, Mapping[str, object]]] = []
        named: dict[Any, Any] = {name.replace("_", "/"): handler for name, handler in handlers.items()}
        self.now = 0.0
        self.dispatcher = CommandDispatcher(
            "p/v1/s/d", named, self.answers.append, audit=self.note, clock=lambda: self.now
        )

    def note(self, event: str, facts: Mapping[str, object]) -> None:
        self.notes.append((event, facts))

    def said(self) -> list[str]:
        return [(json.loads(reply.body)["error"] or {"code": "ok"})["code"] for reply in self.answers]


def call(name: str, payload: bytes = b"", reply_to: str = "r") -> Incoming:
    return Incoming(f"p/v1/s/d/command/{name}", payload, reply_to=reply_to)


def restarted(_: Nothing) -> Restarted:
    return Restarted(source="camera")


def test_every_command_is_audited_before_and_after() -> None:
    register = Register(source_restart=restarted)
    register.dispatcher.carry_out(call("source/restart"))
    register.dispatcher.carry_out(call("coffee", b"x"))
    assert [event for event, _ in register.notes] == ["command", "command_done", "command_failed"]
    assert register.notes[0][1] == {"command": "source/restart", "reply_to": "r", "request": {}}
    assert register.notes[2][1]["code"] == "unknown"


def test_a_command_that_can_not_be_audited_is_not_carried_out() -> None:
    done: list[object] = []

    def full(_event: str, _facts: Mapping[str, object]) -> None:
        raise OutboxError("the disk is full; free some room")

    dispatcher = CommandDispatcher("p/v1/s/d", {"slide/stop": done.append}, lambda _: None, audit=full)
    answer = json.loads(dispatcher.carry_out(call("slide/stop")))
    assert (answer["ok"], answer["error"]["code"], done) == (False, "failed", [])


def test_a_flood_is_turned_away_and_takes_no_room() -> None:
    slow, started = threading.Event(), threading.Event()

    def hang(_: Nothing) -> None:
        started.set()
        slow.wait(10)

    register = Register(slide_stop=hang)
    with register.dispatcher as dispatcher:
        dispatcher.take(call("slide/stop"))
        assert started.wait(10)
        for _ in range(5000):
            dispatcher.take(call("slide/stop"))
        assert register.said().count("busy") == 5000 - min(int(BURST) - 1, MOST_WAITING)
        slow.set()
    assert len([note for note in register.notes if note[0] == "command"]) <= BURST
    assert len(register.notes) <= 2 * BURST


def test_a_program_that_asks_for_pictures_without_end_keeps_no_person_from_asking() -> None:
    """And hears that it is too much."""
    register = Register(picture_get=lambda _: None, slide_stop=lambda _: None)
    wanted = b'{"kind": "cell", "ids": ["a"]}'
    with register.dispatcher as dispatcher:
        for number in range(100):
            register.now += 0.01  # five times as many as it may
            dispatcher.take(call("picture/get", wanted))
            assert until(lambda: len(register.answers) > number)  # noqa: B023
        assert 35 <= register.said().count("ok") <= 41
        dispatcher.take(call("slide/stop"))
        assert until(lambda: register.said()[-1] == "ok")


def test_answers_that_nobody_takes_are_bounded() -> None:
    answers = ResponseQueue()
    for number in range(1000):
        answers.say(Reply("r", str(number).encode(), b""))
    sent: list[Reply] = []
    for ticket in range(1000):
        answers.publish(lambda reply: sent.append(reply) or 7)  # type: ignore[func-returns-value]
        assert answers.answered(7) == "r" if ticket < MOST_ANSWERS else True
    assert [int(reply.body) for reply in sent] == list(range(1000 - MOST_ANSWERS, 1000))


@pytest.mark.parametrize(
    "topic",
    ["p/v1/s/d/ack", "p/v1/other/d/frame", "p/v1/s/d/command/slide/stop", "$SYS/x", "a/+", "a/#", "a\nb", "a\0b"],
)
def test_nobody_can_make_an_agent_speak_where_agents_are_believed(topic: str) -> None:
    register = Register(source_restart=restarted)
    assert not may_answer_on(topic, "p/v1/s/d")
    with register.dispatcher as dispatcher:
        dispatcher.take(call("source/restart", reply_to=topic))
        dispatcher.take(call("source/restart"))
        assert until(lambda: register.answers)
    assert [reply.topic for reply in register.answers] == ["r"]
    assert [event for event, _ in register.notes] == ["command_failed", "command", "command_done"]


def test_other_topics_may_be_answered_on() -> None:
    assert all(may_answer_on(topic, "p/v1/s/d") for topic in ("r", "p/v1/s/d/reply", "p/reply/frame", "Äther/1"))


NAMES = st.sampled_from(list(COMMANDS)) | st.text(max_size=200)
JSONS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["slide_id", "part", "x"]), inner),
    max_leaves=8,
)


@given(name=NAMES, payload=st.binary(max_size=300) | JSONS.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=400, deadline=None)
def test_whatever_comes_there_is_an_answer_in_the_promised_form(name: str, payload: bytes) -> None:
    register = Register(slide_start=lambda _: None, slide_stop=lambda _: None, snapshot=lambda _: None)
    answer = Answer[Restarted].model_validate_json(register.dispatcher.carry_out(call(name, payload)))
    assert answer.ok is (answer.error is None)
    assert all(character.isprintable() for character in answer.command)


@pytest.mark.parametrize(
    "payload", [b"[" * 60000, b'{"slide_id":' * 5000, b'{"slide_id": "\\ud800"}', b"\xff\xfe", b"1e999"]
)
def test_hostile_payloads_are_malformed(payload: bytes) -> None:
    answer = json.loads(Register(slide_start=lambda _: None).dispatcher.carry_out(call("slide/start", payload)))
    assert answer["error"]["code"] == "malformed"
