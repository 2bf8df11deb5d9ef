"""Why a broker can not be used: what went wrong, and what to do about it, in words."""

import socket
import ssl
from typing import Literal, Protocol

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from mqttlink.settings import BrokerSettings, has_expired


class Reason(Protocol):
    """An MQTT reason code, as the client library hands it out."""

    @property
    def value(self) -> int:
        """Its number in the MQTT 5 standard, section 2.4."""
        ...


State = Literal[
    "online", "connecting", "unreachable", "tls", "untrusted", "expired", "login", "taken_over", "refused", "denied",
    "broken", "unanswered", "outbox",
]  # fmt: skip
"""How a client stands with its broker, for programs."""
_EXPIRED = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and ..._HAS_EXPIRED."""
_OTHER_NAME = frozenset({62, 64})
"""Its ..._HOSTNAME_MISMATCH and ..._IP_ADDRESS_MISMATCH."""


class Trouble(str):
    """What is wrong, in words, and the same for programs.

    Attributes:
        state: one of ``State``.
    """

    __slots__ = ("state",)
    state: State

    @classmethod
    def of(cls, state: State, text: str) -> "Trouble":
        """Both together."""
        made = cls(text)
        made.state = state
        return made


NO_TROUBLE = Trouble.of("online", "")
SESSION_TAKEN_OVER, RECEIVE_MAXIMUM = 142, 147
"""Only a DISCONNECT says these."""
REMEDIES: dict[int, tuple[State, str]] = {
    132: ("refused", "set mqtt.version to 3.1.1"),
    133: ("refused", "choose plainer names for site and device"),
    134: ("login", "correct mqtt.username and mqtt.password"),
    135: ("login", "correct mqtt.username and mqtt.password, or allow this user at the broker"),
    138: ("refused", "the broker has banned this client; ask who runs it"),
    SESSION_TAKEN_OVER: (
        "taken_over",
        "another client has the same name (an agent: site and device); give each a name of its own",
    ),
    RECEIVE_MAXIMUM: ("refused", "it has more unanswered messages of ours than it takes; raise its receive_maximum"),
    149: ("refused", "a message is larger than the broker allows; raise its max_packet_size"),
    154: (
        "refused",
        "it keeps no retained messages, as status and health are; allow them (mosquitto: retain_available true)",
    ),
    155: ("refused", "it does not take QoS 1, without which reports would be lost; allow it (mosquitto: max_qos 1)"),
}
"""What to do if a broker refuses a connection, by the reason codes of MQTT 5."""
_NO_REMEDY: tuple[State, str] = "refused", "see the broker's log"


def where(settings: BrokerSettings) -> str:
    """Host and port of the broker."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def why_unreachable(cause: Exception, settings: BrokerSettings) -> Trouble:
    """No connection came about."""
    place = where(settings)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _why_untrusted(cause, place)
    torn = isinstance(cause, (ConnectionResetError, BrokenPipeError)) and settings.tls is not None
    if isinstance(cause, ssl.SSLError) or torn:
        return _why_not_us(str(cause), settings) or Trouble.of(
            "tls",
            f"TLS with {place} failed ({cause}); is mqtt.port the broker's TLS port, and do "
            "mqtt.tls.cert and mqtt.tls.key belong to an authority that it trusts?",
        )
    if isinstance(cause, (socket.gaierror, ValueError)):
        text = f"no address is known for the broker's host {settings.host!r}; correct mqtt.host, or the DNS"
    elif isinstance(cause, ConnectionRefusedError):
        text = f"nothing listens at {place}; start the broker, or correct mqtt.host and mqtt.port"
    elif isinstance(cause, TimeoutError):
        text = f"{place} does not answer; check the network and the firewall, then mqtt.host"
    else:
        text = f"{place} can not be reached ({cause}); check the network, then mqtt.host and mqtt.port"
    return Trouble.of("unreachable", text)


def _why_untrusted(cause: ssl.SSLCertVerificationError, place: str) -> Trouble:
    said = f"({cause.verify_message})"
    if cause.verify_code in _EXPIRED:
        text = f"the certificate of {place} is out of date {said}; renew it at the broker, or set this computer's clock"
        return Trouble.of("expired", text)
    if cause.verify_code in _OTHER_NAME:
        text = f"the certificate of {place} is another host's {said}; set mqtt.host to a name that it holds"
    else:
        text = f"the certificate of {place} is not trusted {said}; set mqtt.tls.ca to the authority that signed it"
    return Trouble.of("untrusted", text)


def _why_not_us(said: str, settings: BrokerSettings) -> Trouble | None:
    """What is wrong with our certificate, by itself or by the broker's alert (RFC 8446, section 6.2; OpenSSL's words).

    The alert does not always arrive: a broker that closes at once makes it vanish.
    """
    place, alert = where(settings), said.upper().replace(" ", "_")
    if "CERTIFICATE_EXPIRED" in alert or (settings.tls and has_expired(settings.tls.cert)):
        text = f"{place} refuses the certificate of this client, for it has expired; renew mqtt.tls.cert ({said})"
        return Trouble.of("expired", text)
    if "UNKNOWN_CA" in alert:
        text = (
            f"{place} does not know the authority that signed mqtt.tls.cert; take a certificate from its own ({said})"
        )
        return Trouble.of("tls", text)
    return None


def why_refused(reason: Reason, settings: BrokerSettings) -> Trouble:
    """The broker said no, to our CONNECT or later."""
    place, user = where(settings), settings.username or "anonymous"
    state, remedy = REMEDIES.get(reason.value, _NO_REMEDY)
    lack = _lacks(settings) if state == "login" else ""
    return Trouble.of(state, f"the broker at {place} refused user {user}: {reason} ({reason.value}); {lack}{remedy}")


def _lacks(settings: BrokerSettings) -> str:
    """What a login may want and is not set, so that nobody looks for what is wrong in what is not there."""
    if not settings.username:
        return "no user name is set; "
    if settings.password is None or not settings.password.get_secret_value():
        return "no password is set; "
    return ""


def why_hung_up(detail: str, settings: BrokerSettings) -> Trouble:
    """The connection closed before the broker had spoken; ``detail`` is what the client library knows."""
    said = detail.removeprefix("failed to receive on socket: ") or "no reason given"
    if settings.tls is not None:
        return _why_not_us(said, settings) or Trouble.of(
            "tls",
            f"{where(settings)} hung up after the TLS handshake ({said}); most brokers do so without a certificate "
            "that they trust: set mqtt.tls.cert and mqtt.tls.key to a pair that the broker's authority signed",
        )
    return Trouble.of(
        "unreachable",
        f"{where(settings)} hung up without a word ({said}); is it an MQTT broker, and is its port with TLS, "
        "or without, as mqtt.tls says?",
    )


def why_broken(detail: str, settings: BrokerSettings) -> Trouble:
    """A connection that worked has ended; ``detail`` is what the client library knows."""
    return Trouble.of(
        "broken",
        f"the connection to {where(settings)} broke ({detail or 'the broker closed it'}); if this goes on, "
        "see the broker's log: perhaps another client has the same name (an agent: site and device)",
    )


def why_unanswered(settings: BrokerSettings) -> Trouble:
    """The broker takes messages, and answers none of them."""
    return Trouble.of(
        "unanswered",
        f"the broker at {where(settings)} takes messages and answers none of them (no PUBACK); it is connected to "
        "again; see its log and its disk, or start it again",
    )


def why_taken_over(settings: BrokerSettings) -> Trouble:
    """The broker welcomes us and closes the connection, again and again, without a reason."""
    return Trouble.of(
        "taken_over",
        f"the broker at {where(settings)} welcomes this client and soon closes the connection, again and again; most "
        "likely another client has the same name (an agent: site and device); give each a name of its own",
    )


def why_not_taken(
    reason: Reason, settings: BrokerSettings, topic: str, *, then: str = "reports are kept and tried again"
) -> Trouble:
    """The broker refused one publish or subscribe on a topic; ``then`` says what comes of it."""
    user = settings.username or "anonymous"
    return Trouble.of(
        "denied",
        f"the broker at {where(settings)} does not let user {user} use topic {topic}: {reason} "
        f"({reason.value}); correct its access list; {then}",
    )


def standard_words(code: int) -> str:
    """What the standard calls a reason code of a CONNACK, or of a DISCONNECT where it is said only at the end."""
    packet = PacketTypes.DISCONNECT if code in {SESSION_TAKEN_OVER, RECEIVE_MAXIMUM} else PacketTypes.CONNACK
    return str(ReasonCode(packet, identifier=code))
