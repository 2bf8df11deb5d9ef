"""Why a broker can not be used: what went wrong, and what to do about it, in words."""

import socket
import ssl
from typing import Protocol

from contract.connection import BrokerSettings


class Reason(Protocol):
    """An MQTT reason code, as the client library hands it out."""

    @property
    def value(self) -> int:
        """Its number in the MQTT 5 standard, section 2.4."""
        ...


def where(settings: BrokerSettings) -> str:
    """Host and port of the broker."""
    return f"{settings.host}:{settings.port}"


def why_unreachable(cause: Exception, settings: BrokerSettings) -> str:
    """No connection came about."""
    place = where(settings)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {place} is not trusted ({cause.verify_message}); set mqtt.tls.ca to the "
            "authority that signed it, and mqtt.host to a name that it holds"
        )
    torn = isinstance(cause, (ConnectionResetError, BrokenPipeError)) and settings.tls is not None
    if isinstance(cause, ssl.SSLError) or torn:
        return (
            f"TLS with {place} failed ({cause}); is mqtt.port the broker's TLS port, and do "
            "mqtt.tls.cert and mqtt.tls.key belong to an authority that it trusts?"
        )
    if isinstance(cause, (socket.gaierror, ValueError)):
        return f"no address is known for the broker's host {settings.host!r}; correct mqtt.host, or the DNS"
    if isinstance(cause, ConnectionRefusedError):
        return f"nothing listens at {place}; start the broker, or correct mqtt.host and mqtt.port"
    if isinstance(cause, TimeoutError):
        return f"{place} does not answer; check the network and the firewall, then mqtt.host"
    return f"{place} can not be reached ({cause}); check the network, then mqtt.host and mqtt.port"


def why_refused(reason: Reason, settings: BrokerSettings) -> str:
    """The broker said no, at the door or later."""
    place, user = where(settings), settings.username or "anonymous"
    remedies = {
        132: "set mqtt.version to 3.1.1",
        133: "choose plainer names for site and device",
        134: "correct mqtt.username and mqtt.password",
        135: "correct mqtt.username and mqtt.password, or allow this user at the broker",
        138: "the broker has banned this client; ask who runs it",
        142: "another client has the same name (an agent: site and device); give each a name of its own",
        149: "a report is larger than the broker allows; raise its max_packet_size",
    }
    remedy = remedies.get(reason.value, "see the broker's log")
    return f"the broker at {place} refused user {user}: {reason} ({reason.value}); {remedy}"


def why_hung_up(detail: str, settings: BrokerSettings) -> str:
    """The connection closed before the broker had spoken; ``detail`` is what the client library knows."""
    said = detail.removeprefix("failed to receive on socket: ") or "no reason given"
    if settings.tls is not None:
        return (
            f"{where(settings)} hung up after the TLS handshake ({said}); most brokers do so without a certificate "
            "that they trust: set mqtt.tls.cert and mqtt.tls.key to a pair that the broker's authority signed"
        )
    return (
        f"{where(settings)} hung up without a word ({said}); is it an MQTT broker, and is its port with TLS, "
        "or without, as mqtt.tls says?"
    )


def why_broken(detail: str, settings: BrokerSettings) -> str:
    """A connection that worked has ended; ``detail`` is what the client library knows."""
    return (
        f"the connection to {where(settings)} broke ({detail or 'the broker closed it'}); if this goes on, "
        "see the broker's log: perhaps another client has the same name (an agent: site and device)"
    )


def why_not_taken(
    reason: Reason, settings: BrokerSettings, topic: str, *, then: str = "reports are kept and tried again"
) -> str:
    """The broker refused one publish or subscribe on a topic; ``then`` says what comes of it."""
    user = settings.username or "anonymous"
    return (
        f"the broker at {where(settings)} does not let user {user} use topic {topic}: {reason} "
        f"({reason.value}); correct its access list; {then}"
    )
