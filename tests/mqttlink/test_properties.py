"""The properties of our messages are packed once, and are what paho would send."""

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from mqttlink.properties import message_properties
from mqttlink.settings import BrokerSettings


def test_the_bytes_are_those_of_paho_and_are_made_once() -> None:
    ours = message_properties(BrokerSettings())
    assert ours is not None
    theirs = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    for name, value in ours.json().items():  # type: ignore[no-untyped-call]
        for one in value if name == "UserProperty" else [value]:
            setattr(theirs, name, one)
    assert ours.pack() == theirs.pack()  # type: ignore[no-untyped-call]
    assert ours.pack() is ours.pack()


def test_a_change_is_packed() -> None:
    ours = message_properties(BrokerSettings())
    assert ours is not None
    before = ours.pack()
    ours.MessageExpiryInterval = 300
    assert ours.pack() != before
    assert (300).to_bytes(4, "big") in ours.pack()
