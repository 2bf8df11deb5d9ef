"""Commands to agents: what a page asks for, and what came of it."""

from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from pydantic import ValidationError

from common.errors import MicroscopeError
from contract.messages import LARGEST_MESSAGE
from contract.requests import COMMANDS, Answer, CommandName, ErrorInfo, Request
from contract.topics import Topics
from dashboard.live.fleet import AgentKey
from mqttlink.probe import probing
from mqttlink.settings import BrokerSettings

T = TypeVar("T")
PATIENCE_S = 10.0
"""Longest wait for the broker, and then for the agent."""
AT_ONCE = 32
"""Agents that are waited for at the same time."""
_THREADS = RunVar[CapacityLimiter]("threads that wait for agents")


async def apart(work: Callable[[], T]) -> T:
    """Do what waits for an agent on a thread, of which there are enough for the pages whatever agents leave waiting."""
    try:
        threads = _THREADS.get()
    except LookupError:
        threads = CapacityLimiter(AT_ONCE)
        _THREADS.set(threads)
    return await to_thread.run_sync(work, limiter=threads)


def ask(
    broker: BrokerSettings,
    key: AgentKey,
    name: CommandName,
    request: Request,
    *,
    renewed: Callable[[], BrokerSettings] | None = None,
) -> Answer[Any]:
    """Have an agent carry out a command; waits for its answer, and one that does not come is told as one.

    Args:
        broker: where agent and dashboard meet.
        key: which agent.
        name: of the command.
        request: what is asked.
        renewed: reads the broker's settings again: each command makes a connection of its own.
    """
    topics = Topics(prefix=broker.prefix, site=key.site, device=key.device)
    topic = f"{topics.root}/command/{name}"
    try:
        if broker.version != "5":
            return _failed(name, "with mqtt.version = 3.1.1 no agent can answer; set it to 5")
        with probing(broker, PATIENCE_S, largest=LARGEST_MESSAGE, renewed=renewed) as visit:
            heard = visit.ask(topic, request.model_dump_json().encode(), expiry_s=int(PATIENCE_S))
        if heard is None:
            done = "" if name == "snapshot" else "; the agent's log says whether it was done"
            return _failed(name, f"no answer has come within {PATIENCE_S:.0f} s{done}")
        answer: Answer[Any] = COMMANDS[name].answer.model_validate_json(heard)  # type: ignore[assignment]
    except ValidationError:
        return _failed(name, "what came as the agent's answer is none; who else publishes on its topics?")
    except MicroscopeError as cause:
        return _failed(name, str(cause))
    return answer


def _failed(name: str, text: str) -> Answer[Any]:
    return Answer[Any](command=name, ok=False, error=ErrorInfo(code="failed", text=text))
