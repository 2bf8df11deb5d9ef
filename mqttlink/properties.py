"""The properties of our messages (MQTT 5), and how long that makes their packets."""

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from contract.messages import CONTENT_TYPE, OF_VERSION_1, SCHEMA_VERSION
from mqttlink.settings import BrokerSettings


class PackedProperties(Properties):
    """Properties of many messages: packed once, and again after a change.

    To pack them takes a third of the time that it takes to publish a message.
    """

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)  # type: ignore[no-untyped-call]
        self.__dict__.pop("_packed", None)

    def pack(self) -> bytes:
        """The bytes of all of them, their length before them."""
        packed: bytes = self.__dict__.get("_packed") or super().pack()  # type: ignore[no-untyped-call]
        self.__dict__["_packed"] = packed
        return packed


def message_properties(
    settings: BrokerSettings,
    kind: int = PacketTypes.PUBLISH,
    *,
    version: int = SCHEMA_VERSION,
    expiry_s: int = 0,
    correlation: bytes = b"",
    reply_to: str = "",
    media_type: str = CONTENT_TYPE,
) -> PackedProperties | None:
    """The properties that each message of ours has, and those given for this one; None with MQTT 3.1.1.

    What is no JSON, such as a picture, is bytes of its media type and has no version of a form.
    """
    if settings.version != "5":
        return None
    properties = PackedProperties(kind)  # type: ignore[no-untyped-call]
    properties.ContentType = media_type
    if media_type == CONTENT_TYPE:
        properties.PayloadFormatIndicator = 1
        properties.UserProperty = ("schema_version", str(version))
    if expiry_s:
        properties.MessageExpiryInterval = expiry_s
    if correlation:
        properties.CorrelationData = correlation
    if reply_to:
        properties.ResponseTopic = reply_to
    return properties


class MessageProperties:
    """The properties of a connection's messages: one packed set for most of them, one of its own for each other."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings, self._common = settings, message_properties(settings)

    def of(
        self, body: bytes, *, expiry_s: int, correlation: bytes, reply_to: str, media_type: str
    ) -> PackedProperties | None:
        """Those of one message; None with MQTT 3.1.1."""
        version = 1 if body.startswith(OF_VERSION_1) else SCHEMA_VERSION
        if (expiry_s, correlation, reply_to, media_type, version) == (0, b"", "", CONTENT_TYPE, SCHEMA_VERSION):
            return self._common
        return message_properties(
            self._settings,
            version=version,
            expiry_s=expiry_s,
            correlation=correlation,
            reply_to=reply_to,
            media_type=media_type,
        )


def packet_bytes(topic: str, body: bytes, properties: PackedProperties | None) -> int:
    """Length of the packet that publishes a message with QoS 1 (MQTT 5, section 3.3)."""
    packed = len(properties.pack()) if properties else 0
    rest = 2 + len(topic.encode()) + 2 + packed + len(body)
    return 1 + max(1, -(-rest.bit_length() // 7)) + rest
