"""How Home Assistant learns of an agent: one retained message that describes the device and what is told of it.

The form is that of its MQTT integration ("device discovery"); the templates read our `health` and `slide` messages.
"""

import hashlib
import json
import re
from typing import Any

from contract.topics import Topics

Component = dict[str, Any]
_COUNT = {"stat_cla": "measurement"}
_SPEAKS_OF_AGENT = {"ent_cat": "diagnostic"}


def discovery_topic(prefix: str, topics: Topics) -> str:
    """Where Home Assistant looks for the message."""
    return f"{prefix}/device/{_device_id(topics)}/config"


def birth_topic(prefix: str) -> str:
    """Where Home Assistant says that it has started, and wants to be told again."""
    return f"{prefix}/status"


def discovery(topics: Topics, version: str) -> bytes:
    """The message, JSON."""
    device = _device_id(topics)
    site, name = topics.root.split("/")[-2:]
    components = _of_slide(topics.slide) | _of_agent(topics.health)
    for key, component in components.items():
        component["uniq_id"] = f"{device}_{key}"
    there = "{{ 'online' if value_json.state == 'online' else 'offline' }}"
    message = {
        "dev": {
            "ids": [device],
            "name": f"microscope {name}",
            "mf": "microscope-agent",
            "mdl": "white cells and blasts (research use only)",
            "sw": version,
            "sa": site,
        },
        "o": {"name": "microscope-agent", "sw": version},
        "avty": [{"t": topics.status, "val_tpl": there}],
        "cmps": components,
        "qos": 1,
    }
    return json.dumps(message).encode()


def _of_slide(topic: str) -> dict[str, Component]:
    share = "{{ None if value_json.blast_fraction is none else (value_json.blast_fraction * 100) | round(1) }}"
    return {
        "slide": _sensor("Slide", topic, "{{ value_json.slide_id }}", ic="mdi:rectangle-outline"),
        "cells": _sensor("White cells", topic, "{{ value_json.cells }}", ic="mdi:circle-multiple", **_COUNT),
        "blasts": _sensor("Blasts", topic, "{{ value_json.blasts }}", ic="mdi:alert-circle", **_COUNT),
        "uncertain": _sensor("Uncertain cells", topic, "{{ value_json.uncertain }}", ic="mdi:help-circle", **_COUNT),
        "blast_fraction": _sensor("Blasts among judged cells", topic, share, unit_of_meas="%", **_COUNT),
    }


def _of_agent(topic: str) -> dict[str, Component]:
    """Counts since the agent's start: a total that begins at 0 again."""
    total = {"stat_cla": "total_increasing", **_SPEAKS_OF_AGENT}
    problem = "{{ 'ON' if value_json.alarms else 'OFF' }}"
    return {
        "frames": _sensor("Frames", topic, "{{ value_json.frames }}", **total),
        "refused": _sensor("Frames refused", topic, "{{ value_json.refused }}", **total),
        "dropped": _sensor("Frames lost", topic, "{{ value_json.dropped.values() | sum }}", **total),
        "queued": _sensor("Reports that wait", topic, "{{ value_json.queued }}", **_COUNT, **_SPEAKS_OF_AGENT),
        "engine": _sensor("Engine", topic, "{{ value_json.engine }}", **_SPEAKS_OF_AGENT),
        "alarm": _sensor("Alarm", topic, problem, p="binary_sensor", dev_cla="problem", **_SPEAKS_OF_AGENT),
    }


def _sensor(name: str, topic: str, template: str, **more: str) -> Component:
    return {"p": "sensor", "name": name, "stat_t": topic, "val_tpl": template, **more}


def _device_id(topics: Topics) -> str:
    """Site and device in the letters that Home Assistant allows, and their hash: names that look alike so stay two."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", "_".join(topics.root.split("/")[-2:]))
    return f"microscope_{plain}_{hashlib.sha256(topics.root.encode()).hexdigest()[:8]}"
