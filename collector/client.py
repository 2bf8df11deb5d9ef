"""The MQTT client as the collector needs it: a session that the broker keeps, and a PUBACK only when we say so."""

from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from collector.settings import CollectorSettings
from contract.connection import tls_context
from contract.errors import UsageError
from contract.messages import CONTENT_TYPE, SCHEMA_VERSION

_CONNECT_S = 5.0
_PROTOCOLS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}


def new_client(settings: CollectorSettings) -> paho.Client:
    """A client that knows its broker and is not connected yet; ``reconnect`` does that.

    Raises:
        UsageError: a setting can not be used, such as a certificate that is not there.
    """
    mqtt = settings.mqtt
    if not mqtt.host:
        raise UsageError("mqtt.host is empty; name the broker's host")
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        f"microscope-collect.{settings.name}",
        clean_session=None if mqtt.version == "5" else False,
        protocol=_PROTOCOLS[mqtt.version],
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.suppress_exceptions = False
    client.connect_timeout = _CONNECT_S
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, mqtt.password.get_secret_value() if mqtt.password else None)
    if mqtt.tls is not None:
        client.tls_set_context(tls_context(mqtt.tls))
    client.connect_async(mqtt.host, mqtt.port, mqtt.keepalive_s, **_session(settings))
    return client


def properties_of_a_message(settings: CollectorSettings) -> Properties | None:
    """What MQTT 5 says beside each message of ours."""
    if settings.mqtt.version != "5":
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = CONTENT_TYPE
    properties.UserProperty = ("schema_version", str(SCHEMA_VERSION))
    return properties


def _session(settings: CollectorSettings) -> dict[str, Any]:
    if settings.mqtt.version != "5":
        return {}
    session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    session.SessionExpiryInterval = int(settings.session_days * 86400)
    session.ReceiveMaximum = settings.window
    return {"clean_start": False, "properties": session}
