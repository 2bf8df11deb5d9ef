"""The dispatcher where commands come in: read, bounded, audited, carried out one after the other, answered.

A thread of its own carries them out, so that neither the loop nor the publisher ever waits for one.
"""

import difflib
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import Self

from agent.turns import NoTurn
from agent.wire.often import OftenAsked
from common.errors import IntegrityError, MicroscopeError
from contract.requests import COMMANDS, MAX_REQUEST_BYTES, Answer, Code, CommandName, ErrorInfo
from mqttlink.responses import Incoming, Reply, may_answer_on

log = logging.getLogger(__name__)
MOST_WAITING = 16
"""Commands in line at most."""
BURST, PER_SECOND = 20.0, 5.0
"""Commands that may come at once, and how many in the long run."""
OFTEN_PER_SECOND = 20.0
"""The same of commands that programs give again and again, which are counted apart: they keep no person from asking."""
SAID_EVERY_S = 10.0
_SHOWN = 64
_LET_GO_S = 0.3
"""Longest wait at the end for the command in hand."""

Audit = Callable[[str, Mapping[str, object]], None]
"""Notes forever what happened: the event's name, and its facts. Raises MicroscopeError if it can not."""
Handler = Callable[[Any], BaseModel | None]
"""Carries out one command: from the request to the result; raises MicroscopeError if that fails."""


class Refused(Exception):  # noqa: N818 - reads as what happened
    """A command that is not carried out."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code: Code = code


def log_audit(event: str, facts: Mapping[str, object]) -> None:
    """Where there is no audit log: the log."""
    log.info("audit: %s %s", event, json.dumps(facts))


class CommandDispatcher:
    """Takes commands while it is entered; ``take`` may be called by any thread and never waits.

    Args:
        root: of this agent's topics; commands come on `<root>/command/<name>`.
        handlers: who carries out what; what is not in it is not allowed here.
        answer: takes an answer; must not wait.
        audit: notes every command before it is carried out, and what came of it; one that it can not note is not
            carried out.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        root: str,
        handlers: Mapping[CommandName, Handler],
        answer: Callable[[Reply], None],
        *,
        audit: Audit = log_audit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._handlers, self._send, self._audit = root, handlers, answer, audit
        self._line: queue.Queue[Incoming | None] = queue.Queue(MOST_WAITING)
        self._bucket, self._often_bucket = _Bucket(clock, PER_SECOND), _Bucket(clock, OFTEN_PER_SECOND)
        self._thread = threading.Thread(target=self._work, name="commands", daemon=True)
        self._turned_away, self._said_at, self._clock = 0, float("-inf"), clock
        self._often = OftenAsked(audit, clock)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(queue.Empty):  # who still stands in line gets no answer: the agent is on its way down
            while True:
                self._line.get_nowait()
        self._line.put(None)
        self._thread.join(_LET_GO_S)
        if not self._thread.is_alive():
            with suppress(MicroscopeError):
                self._often.close()

    def take(self, call: Incoming) -> None:
        """Line a command up; where there are too many, it is turned away with an answer."""
        bucket = self._often_bucket if _is_often(self._name(call)) else self._bucket
        if self._thread.is_alive() and bucket.take():
            with suppress(queue.Full):
                self._line.put_nowait(call)
                return
        self._turned_away += 1
        if self._clock() - self._said_at >= SAID_EVERY_S:
            self._said_at = self._clock()
            log.warning("too many commands: %d have been turned away so far", self._turned_away)
        busy = ErrorInfo(code="busy", text="too many commands at once; nothing was done, ask again later")
        self._reply(call, _answer(self._name(call), error=busy))

    def _work(self) -> None:
        while call := self._line.get():
            self._reply(call, self.carry_out(call))

    def _reply(self, call: Incoming, answer: bytes) -> None:
        if call.reply_to and may_answer_on(call.reply_to, self._root):
            self._send(Reply(call.reply_to, answer, call.correlation))

    def _name(self, call: Incoming) -> str:
        return call.topic.removeprefix(f"{self._root}/command/")

    def carry_out(self, call: Incoming) -> bytes:
        """Do what is asked; the answer, JSON, which never fails."""
        name = self._name(call)
        facts = {"command": _printable(name), "reply_to": _printable(call.reply_to)}
        try:
            handler, request = self._understood(name, call)
            told = self._is_told(name, facts, request)
            result = handler(request)
        except Refused as no:
            error = ErrorInfo(code=no.code, text=str(no))
        except NoTurn as late:
            error = ErrorInfo(code="busy", text=str(late))
        except MicroscopeError as cause:
            code: Code = "integrity" if isinstance(cause, IntegrityError) else "failed"
            error = ErrorInfo(code=code, text=str(cause))
        else:
            log.log(logging.INFO if told else logging.DEBUG, "command %s: done", facts["command"])
            if told:
                self._note("command_done", facts)
            return _answer(name, result=result)
        log.warning("command %s: %s", facts["command"], error.text)
        self._note("command_failed", {**facts, "code": error.code, "error": error.text})
        return _answer(name, error=error)

    def _is_told(self, name: str, facts: Mapping[str, str], request: BaseModel) -> bool:
        """Audit a command before it is carried out; False if it is only counted. MicroscopeError if neither can be."""
        if _is_often(name):
            return self._often.note(facts["command"], facts["reply_to"], request)
        self._audit("command", {**facts, "request": request.model_dump(mode="json")})
        return True

    def _note(self, event: str, facts: Mapping[str, object]) -> None:
        try:
            self._audit(event, facts)
        except MicroscopeError as cause:
            log.warning("%s was not audited: %s", event, cause)

    def _understood(self, name: str, call: Incoming) -> tuple[Handler, BaseModel]:
        known = next((known for known in COMMANDS if known == name), None)
        if known is None:
            raise Refused("unknown", f"there is no command {_printable(name)!r}; there are {', '.join(COMMANDS)}")
        if call.reply_to and not may_answer_on(call.reply_to, self._root):
            raise Refused("malformed", "that response topic is an agent's own, or none at all; choose another")
        if call.retained:
            raise Refused("retained", "a retained command would be carried out at every connect; clear the topic")
        handler = self._handlers.get(known)
        if handler is None:
            raise Refused("not_allowed", f"{known} is not in the setting mqtt.commands of this agent")
        if len(call.payload) > MAX_REQUEST_BYTES:
            raise Refused("too_large", f"the payload has more than {MAX_REQUEST_BYTES} bytes")
        try:
            return handler, COMMANDS[known].request.model_validate_json(call.payload or b"{}")
        except ValidationError as cause:
            raise Refused("malformed", _faults(cause, list(COMMANDS[known].request.model_fields))) from cause


def _is_often(name: str) -> bool:
    return any(known.often for command, known in COMMANDS.items() if command == name)


def _faults(error: ValidationError, known: Sequence[str]) -> str:
    """What is wrong with a request, without repeating the values that stand in it."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)[:4]
    return "; ".join(_fault(".".join(map(str, f["loc"])), f, known) for f in faults)


def _fault(name: str, fault: ErrorDetails, known: Sequence[str]) -> str:
    said = fault["msg"]
    if fault["type"] == "extra_forbidden":
        own = [one for one in known if one != "asked_by"]
        near = difflib.get_close_matches(name[:_SHOWN], known, n=1) or difflib.get_close_matches(
            name[:_SHOWN], own, n=1, cutoff=0.0
        )
        said = f"there is no such key; {f'the nearest is {near[0]}' if near else 'this command takes none'}"
    return f"{_printable(name) or 'the payload'}: {said}"


def _answer(name: str, *, error: ErrorInfo | None = None, result: BaseModel | None = None) -> bytes:
    answer = Answer[Any](command=_printable(name), ok=error is None, error=error, result=result)
    return answer.model_dump_json().encode()


def _printable(text: str) -> str:
    """A stranger's words, short and without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text[:_SHOWN])


class _Bucket:
    """So many at once, so many in the long run."""

    def __init__(self, clock: Callable[[], float], per_second: float) -> None:
        self._clock, self._per_second, self._at, self._left = clock, per_second, clock(), BURST

    def take(self) -> bool:
        """Whether one more may come."""
        now = self._clock()
        self._left = min(BURST, self._left + self._per_second * (now - self._at))
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
