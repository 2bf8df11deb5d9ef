"""Each topic of an agent: who says what on it, when, and what the broker keeps of it."""

from agent.ops.heartbeat import EVERY_S
from agent.slides.slide import PUBLISH_EVERY_S
from agent.wire.picture_post import EVERY_S as EVERY_PICTURE_S
from agent.wire.picture_post import MOST_KB
from agent.wire.publisher import CLIENT_ID
from contract.requests import ANSWER_EXPIRY_S
from contract.topics import TOPICS, Topic, TopicName
from mqttlink.inflight import ANSWER_WITHIN_S
from mqttlink.refusals import REMEDIES, standard_words

WHEN: dict[TopicName, str] = {
    "frame": "after each frame, refused ones too; again after a lost connection, or if nobody acknowledges it",
    "slide": f"at a slide's start and end, between them with the first frame after {PUBLISH_EVERY_S:.0f} s; the latest "
    "on every connect",
    "status": "`online` on every connect, `stopped` at an orderly end; the broker publishes `offline` (the will) when "
    "the connection is lost",
    "health": f"every {EVERY_S:.0f} s, when the source is lost or back, on every connect, and at the end",
    "picture": f"the latest frame as JPEG of at most {MOST_KB * 3 // 4} KiB, its cells outlined, at most every "
    f"{EVERY_PICTURE_S:.0f} s; only with `mqtt.discovery` and `pictures.keep`",
    "ack": 'after it has stored reports; frees them with `outbox.forget_on = "consumer"`',
}
"""When the agent, or for what it hears a consumer, says it."""
_REPLY = "| the request's response topic | agent | 1 | no | {} | once for each request; only with MQTT 5 |\n"
_REQUEST = "| `command/<name>` | who commands | 1 | never | the sender's choice | at any time; [below](#commands) |\n"
_DISCOVERY = (
    "| `homeassistant/device/.../config` | agent | 1 | yes | never | [where it is wanted](#home-assistant): on every "
    "connect, and when `homeassistant/status`, which the agent then hears, says `online` |\n"
)
_ANSWERS = {
    "CONNACK or DISCONNECT with a reason code of 128 or more": "keeps its reports, and connects again after 0.5 to 8 "
    "s, longer each time, forever",
    "PUBACK below 128, also 16 (nobody is subscribed)": 'lets the report go with `forget_on = "broker"`; else waits '
    "for an `ack`",
    "PUBACK of 128 or more for `frame`": "keeps the report; tries after 1 s, then after twice as long each time, up to "
    "60 s; `denied` until one is taken",
    "the same for all else": "warns in the journal, and does not say it again; the next message is tried",
    "SUBACK of 128 or more for `ack`": "is `denied` until it connects again: reports leave, and none is let go",
    "the same for `command/#`": "warns in the journal; nobody can command it",
    "none, not even to a ping (`mqtt.keepalive_s`)": "is `broken`, and connects again",
    f"to a ping, but for {ANSWER_WITHIN_S:.0f} s to no message": "is `unanswered`, an alarm, until one is answered; "
    "connects again",
    "CONNACK with a Maximum Packet Size": "sets aside what is larger, a report or a retained message, with an alarm "
    "that names it, and sends the rest; what was set aside is sent once a broker takes it",
}
"""What the broker says, and what the agent does."""
_CLIENT = f"""
The agent's client id is `{CLIENT_ID.format(site="<site>", device="<device>")}`. It begins a new session
each time and leaves none behind: what it has to say is in its outbox. The will has no delay. The collector's id is
`microscope-collect.<name>`, and its session is kept.

# What the broker may answer

| answer | the agent |
|---|---|
"""
_REFUSED = """
It heeds the broker's Receive Maximum, be it 1: reports, retained messages and answers count together. It takes
messages of up to 128 KiB itself, and the collector of up to 4 MiB; the agent sends none that are longer. With MQTT
3.1.1 a PUBACK has no reason code: a report that the access list keeps out looks as if it had been taken. Set
`forget_on = "consumer"` there.

If a connection is refused, or ended by the broker, the state is one of these; monitoring has
[them all](monitoring.md#how-the-agent-stands-with-its-broker). The codes of MQTT 3.1.1 are read as those of MQTT 5.

| reason code | state | remedy |
|---|---|---|
"""


def traffic() -> str:
    """The topics, and what becomes of what the broker answers, as a page tells them."""
    head = "\n| topic | who says it | QoS | retained | expires | when |\n|---|---|---|---|---|---|\n"
    rows = [_row(name, topic) for name, topic in TOPICS.items()]
    reply = _REPLY.format(f"after {ANSWER_EXPIRY_S} s")
    answers = [f"| {answer} | {deed} |\n" for answer, deed in _ANSWERS.items()]
    refusals = [
        f"| {code} {standard_words(code)} | `{state}` | {remedy} |\n" for code, (state, remedy) in REMEDIES.items()
    ]
    others = "| any other | `refused` | see the broker's log |\n"
    return "".join([head, *rows, _REQUEST, reply, _DISCOVERY, _CLIENT, *answers, _REFUSED, *refusals, others])


def _row(name: TopicName, topic: Topic) -> str:
    speaker = "a consumer" if topic.heard else "agent"
    expiry = f"after {topic.expiry_s} s" if topic.expiry_s else "never"
    return f"| `{name}` | {speaker} | {topic.qos} | {'yes' if topic.retained else 'no'} | {expiry} | {WHEN[name]} |\n"
