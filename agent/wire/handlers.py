"""Who carries out which command; see ``contract.requests`` for what they are."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from pydantic import BaseModel

from agent.loaded_model import LoadedModel
from agent.pictures.answers import PictureAnswers
from agent.settings import Settings
from agent.slides.slide import SlideControl
from agent.turns import Turns
from agent.wire.dispatcher import Audit, CommandDispatcher, Handler, log_audit
from agent.wire.publisher import Publisher
from agent.wire.snapshot import SnapshotTap
from contract.messages import ModelInfo, SlideSummary
from contract.requests import CommandName, Nothing, Restarted, Setting, SettingsInForce, StartSlide
from contract.topics import Topics

PATIENCE_S = 30.0
"""Longest wait for the loop to come to a command."""

Shown = Iterable[tuple[str, str, str]]
"""Settings by name, value and origin; secrets masked."""


class CommandHandlers:
    """The commands of one agent; their methods are called by the thread of the dispatcher."""

    def __init__(
        self,
        settings: Settings,
        shown: Shown,
        *,
        model: LoadedModel,
        turns: Turns,
        slides: SlideControl,
        tap: SnapshotTap,
        pictures: PictureAnswers,
    ) -> None:
        self._kind = settings.source.kind
        self._shown = {name: Setting(value=_typed(value), origin=origin) for name, value, origin in shown}
        self._model, self._turns, self._slides, self._tap = model, turns, slides, tap
        every: Mapping[CommandName, Handler] = {
            "slide/start": self._start,
            "slide/stop": self._stop,
            "source/restart": self._restart,
            "config/get": lambda _: SettingsInForce(settings=self._shown),
            "model/reload": lambda _: self._turns.ask(self._reload, timeout_s=PATIENCE_S),
            "snapshot": self._tap.look,
            "picture/get": pictures.give,
        }
        self.allowed = {name: handler for name, handler in every.items() if name in settings.mqtt.commands}

    def _start(self, request: StartSlide) -> SlideSummary | None:
        self._slides.start(request.slide_id)
        return self._slides.summary()

    def _stop(self, _: Nothing) -> SlideSummary | None:
        return self._slides.stop()

    def _restart(self, _: Nothing) -> BaseModel:
        self._turns.restart(timeout_s=PATIENCE_S)
        return Restarted(source=self._kind)

    def _reload(self) -> ModelInfo:
        """On the loop's thread: the engine is its own."""
        examiner = self._model.reload()
        self._slides.judge_by(examiner.model, examiner.decision, examiner.known_error)
        return examiner.model


def _typed(shown: str) -> bool | int | float | str | list[str] | None:
    """A setting's value out of what `config show` prints of it."""
    if shown.startswith('"'):
        return shown[1:-1]
    if shown == "unset":
        return None
    try:
        found: bool | int | float | list[str] = json.loads(shown)
    except ValueError:
        return shown
    return found


@contextmanager
def attend(publisher: Publisher, topics: Topics, handlers: CommandHandlers, audit: Audit = log_audit) -> Iterator[None]:
    """Take commands in the block; none where none is allowed."""
    if not handlers.allowed:
        yield
        return
    with CommandDispatcher(topics.root, handlers.allowed, publisher.answer, audit=audit) as dispatcher:
        publisher.route(topics.commands, dispatcher.take)
        yield
