"""`slide start` and `slide stop`: a person tells a running agent over its broker what lies under the objective."""

from pydantic import ValidationError

from agent.settings import Settings
from common.errors import BrokerError, CheckError, UsageError
from common.words import counted
from contract.messages import SlideSummary
from contract.requests import Answer, CommandName, Nothing, Request, StartSlide
from contract.shares import corrected_words, percent
from contract.topics import Topics
from mqttlink.probe import REPLIES, probing

PATIENCE_S = 10.0
"""Longest wait for the broker, and then for the agent."""


def start_slide(settings: Settings, slide_id: str) -> str:
    """Have the agent count what follows for a slide; returns what came of it, in words. Raises as ``stop_slide``."""
    begun = _asked(settings, "slide/start", StartSlide(slide_id=slide_id))
    count = f" as {begun.count_id}" if begun else ""
    return f"slide {slide_id} is open: what follows is counted for it{count}"


def stop_slide(settings: Settings) -> str:
    """Have the agent end its slide; returns its last count, in words.

    Raises:
        BrokerError: the broker or the agent can not be reached; the text says which and why.
        CheckError: the agent does not do it.
        UsageError: the settings do not allow it.
    """
    ended = _asked(settings, "slide/stop", Nothing())
    if ended is None:
        return "no slide was open"
    return closed_words(ended)


def closed_words(ended: SlideSummary) -> str:
    """The last count of a slide in one line, with its share of blasts."""
    frames = f"{counted(ended.frames, 'frame')}, {ended.refused} of them not judged"
    found = f"{ended.normal} normal, {ended.blasts} blast, {ended.uncertain} uncertain, {ended.not_judged} not judged"
    words = corrected_words(ended)
    share, of = ended.blast_fraction, "of those called normal or blast"
    blasts = "" if share is None else f"; blasts {percent(share)} {of}"
    corrected = f", {words}" if words else ""
    cells = f"{counted(ended.cells, 'cell')}, each counted once: {found}{blasts}{corrected}"
    return f"slide {ended.slide_id} is closed: {frames}; {cells}"


def _asked(settings: Settings, name: CommandName, request: Request) -> SlideSummary | None:
    """What the agent of these settings answers to a command."""
    if settings.mqtt.version != "5":
        raise UsageError("with mqtt.version = 3.1.1 no agent can answer; set it to 5 for this command")
    topics = Topics(prefix=settings.mqtt.prefix, site=settings.site, device=settings.device)
    topic = f"{topics.root}/command/{name}"
    with probing(settings.mqtt, PATIENCE_S) as broker:
        heard = broker.ask(topic, request.model_dump_json().encode(), expiry_s=int(PATIENCE_S))
    agent = f"the agent {settings.site}/{settings.device}"
    if heard is None:
        raise BrokerError(
            f"no answer of {agent} has come within {PATIENCE_S:.0f} s: it is busy (its log says whether it was done), "
            f"or the broker does not let this user read {REPLIES}/#"
        )
    try:
        answer = Answer[SlideSummary].model_validate_json(heard)
    except ValidationError as cause:
        raise BrokerError(f"what came as the answer of {agent} is none; who else publishes on its topics?") from cause
    if answer.error:
        raise CheckError(f"{agent} has not done it: {answer.error.text}")
    return answer.result
