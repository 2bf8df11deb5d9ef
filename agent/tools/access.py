"""Who else is let in by the broker, and what may they do? Tried, and not read from its settings, which nobody shows us.

No trial disturbs anybody: an empty message on `command` itself, which the access list treats as the commands below it
and no agent heeds; and one on `doctor`, which no program subscribes to.
"""

import secrets
import socket
from collections.abc import Iterator
from ipaddress import ip_address

from agent.settings import MqttSettings, Settings
from common.errors import BrokerError, UsageError
from contract.topics import Topics
from mqttlink.probe import probing

VISIT_S = 5.0
_ECHO_S = 1.0


def concerns(settings: Settings) -> Iterator[str]:
    """What should not be possible, and is, or may be; in words."""
    mqtt = settings.mqtt
    if mqtt.tls is None and not is_loopback(mqtt.host):
        yield (
            f"{mqtt.host} is another machine, and everything goes there in plain text, the password too: set mqtt.tls"
        )
    if mqtt.version != "5":
        yield "MQTT 3.1.1 does not tell what a broker refuses: see that it has an access list as in docs/mqtt.md"
        return
    try:
        yield from _tried(settings)
    except (BrokerError, UsageError):  # the check of the broker says why
        yield "who else may use the broker is not known, for it does not let us in"


def _tried(settings: Settings) -> Iterator[str]:
    mqtt = settings.mqtt
    yield from _of_strangers(mqtt, _root(settings, settings.device))
    if stranger_to(mqtt) != mqtt and _may_command(mqtt, _root(settings, f"doctor-{secrets.token_hex(4)}")):
        yield (
            f"user {mqtt.username or 'of this certificate'} may command other agents too: give the broker an access "
            "list as in docs/mqtt.md"
        )


def stranger_to(mqtt: MqttSettings) -> MqttSettings:
    """The same broker for somebody who knows where it is, and nothing else."""
    tls = mqtt.tls and mqtt.tls.model_copy(update={"cert": None, "key": None})
    return mqtt.model_copy(update={"username": None, "password": None, "tls": tls})


def is_loopback(host: str) -> bool:
    """Whether all addresses of a host are this machine's own."""
    try:
        found = [ip_address(address[0]) for *_, address in socket.getaddrinfo(host, None)]
    except (OSError, ValueError):
        return False
    return all(address.is_loopback for address in found)


def _of_strangers(mqtt: MqttSettings, root: str) -> Iterator[str]:
    stranger = stranger_to(mqtt)
    try:
        commands, reads = _may_command(stranger, root), _may_read(stranger, mqtt, root)
    except BrokerError:
        with probing(mqtt, VISIT_S):  # is it they who are not let in, or everybody?
            return
    if commands or reads:
        may = " and ".join([*["command this agent"] * commands, *["read its reports"] * reads])
        yield (
            f"whoever reaches the broker may {may}, without a name: give it passwords (mosquitto: `allow_anonymous "
            "false`) and an access list as in docs/mqtt.md"
        )


def _may_command(mqtt: MqttSettings, root: str) -> bool:
    with probing(mqtt, VISIT_S) as guest:
        return guest.may_publish(f"{root}/command")


def _may_read(stranger: MqttSettings, mqtt: MqttSettings, root: str) -> bool:
    """Whether something that we publish reaches a stranger; some brokers agree to every subscription."""
    topic = f"{root}/doctor"
    with probing(stranger, VISIT_S) as guest, probing(mqtt, VISIT_S) as we:
        return guest.listen_to(topic) and we.may_publish(topic) and guest.hears(topic, _ECHO_S)


def _root(settings: Settings, device: str) -> str:
    return Topics(prefix=settings.mqtt.prefix, site=settings.site, device=device).root
