"""Whether what is heard on the wire has the form that docs/asyncapi.json promises."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from contract.messages import SCHEMA_VERSION

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "docs" / "asyncapi.json").read_text())
SAID = {operation["channel"]["$ref"] for operation in DOCUMENT["operations"].values() if operation["action"] == "send"}


def check(heard: dict[str, Any]) -> None:
    """Hold a message, as mosquitto_sub's %j tells it, against the document, if an agent of MQTT 5 wrote it so."""
    if heard.get("properties", {}).get("user-properties", {}).get("schema_version") != str(SCHEMA_VERSION):
        return
    for name, channel in DOCUMENT["channels"].items():
        if f"#/channels/{name}" in SAID and _fits(channel["address"], heard["topic"]):
            check_payload(name, json.loads(heard["payload"]))
            assert heard["properties"]["content-type"] == DOCUMENT["defaultContentType"]
            check_delivery(DOCUMENT["operations"][f"say_{name}"]["bindings"]["mqtt"], heard)


def check_delivery(promised: dict[str, Any], heard: dict[str, Any]) -> None:
    """Hold QoS, expiry and, as far as a subscriber sees it, retention of a message against what is promised."""
    assert heard["qos"] == promised["qos"]
    assert promised["retain"] or not heard["retain"]
    expiry_s = heard["properties"].get("message-expiry-interval")
    assert (expiry_s is None) == ("messageExpiryInterval" not in promised)
    assert expiry_s is None or expiry_s <= promised["messageExpiryInterval"]


def check_payload(message: str, payload: Any) -> None:
    """Hold a payload against a message of the document, by its name there."""
    _validator(message).validate(payload)


@lru_cache
def _validator(message: str) -> Draft202012Validator:
    schema = DOCUMENT["components"]["messages"][message]["payload"]
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def _fits(address: str, topic: str) -> bool:
    words, heard = address.split("/"), topic.split("/")
    return len(words) == len(heard) and all(a == b or a.startswith("{") for a, b in zip(words, heard, strict=True))
