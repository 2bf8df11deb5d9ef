"""How Home Assistant learns of an agent: one retained message that describes the device and what is told of it.

The form is that of its MQTT integration ("device discovery"); the templates read our `health` and `slide` messages.
"""

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

from contract.requests import CommandName, Nothing
from contract.topics import TOPICS, Topics

Component = dict[str, Any]
_COUNT = {"stat_cla": "measurement"}
_SPEAKS_OF_AGENT = {"ent_cat": "diagnostic"}
ASKED_BY = "Home Assistant"
"""Who asks, in the audit log, when somebody presses a button there: it does not say who."""
_BUTTONS: dict[CommandName, tuple[str, str]] = {
    "slide/stop": ("Stop the slide", "mdi:stop-circle-outline"),
    "source/restart": ("Open the source again", "mdi:camera-retake"),
    "model/reload": ("Load the model again", "mdi:reload"),
}
"""What a press can ask for: who starts a slide must name it, and other commands have nothing but their answers."""
_LONGEST_STATE = 255
"""Characters that Home Assistant takes of a sensor's state."""


def discovery_topic(prefix: str, topics: Topics) -> str:
    """Where Home Assistant looks for the message."""
    return f"{prefix}/device/{_device_id(topics)}/config"


def birth_topic(prefix: str) -> str:
    """Where Home Assistant says that it has started, and wants to be told again."""
    return f"{prefix}/status"


def discovery(topics: Topics, version: str, *, commands: Collection[CommandName] = (), pictures: bool = False) -> bytes:
    """The message, JSON.

    Args:
        topics: of the agent.
        version: of the agent.
        commands: what may be asked of it.
        pictures: whether it says the latest frame as a picture.
    """
    device = _device_id(topics)
    site, name = topics.root.split("/")[-2:]
    components = _of_slide(topics.slide) | _of_agent(topics.health) | _buttons(topics, commands)
    if pictures:
        components["picture"] = _image("Latest frame", topics.picture)
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
    words = "{{ (value_json.alarms | join('; '))[:" + str(_LONGEST_STATE) + "] or 'none' }}"
    age = "{{ None if value_json.frame_age_s is none else value_json.frame_age_s | round(1) }}"
    seconds = {"dev_cla": "duration", "unit_of_meas": "s", **_COUNT, **_SPEAKS_OF_AGENT}
    return {
        "frames": _sensor("Frames", topic, "{{ value_json.frames }}", **total),
        "refused": _sensor("Frames refused", topic, "{{ value_json.refused }}", **total),
        "dropped": _sensor("Frames lost", topic, "{{ value_json.dropped.values() | sum }}", **total),
        "queued": _sensor("Reports that wait", topic, "{{ value_json.queued }}", **_COUNT, **_SPEAKS_OF_AGENT),
        "engine": _sensor("Engine", topic, "{{ value_json.engine }}", **_SPEAKS_OF_AGENT),
        "frame_age": _sensor("Age of the last frame", topic, age, **seconds),
        "alarm": _sensor("Alarm", topic, problem, p="binary_sensor", dev_cla="problem", **_SPEAKS_OF_AGENT),
        "alarm_text": _sensor("Alarm in words", topic, words, ic="mdi:alert", **_SPEAKS_OF_AGENT),
    }


def _buttons(topics: Topics, commands: Collection[CommandName]) -> dict[str, Component]:
    """One for each command that may be asked by a press; QoS 1, as the message says for all, and never retained."""
    payload = Nothing(asked_by=ASKED_BY).model_dump_json()
    return {
        command.replace("/", "_"): {
            "p": "button",
            "name": name,
            "cmd_t": topics.command(command),
            "pl_prs": payload,
            "ret": False,
            "ic": icon,
            "ent_cat": "config",
        }
        for command, (name, icon) in _BUTTONS.items()
        if command in commands
    }


def _image(name: str, topic: str) -> Component:
    return {"p": "image", "name": name, "img_t": topic, "cont_type": TOPICS["picture"].media_type}


def _sensor(name: str, topic: str, template: str, **more: str) -> Component:
    return {"p": "sensor", "name": name, "stat_t": topic, "val_tpl": template, **more}


def _device_id(topics: Topics) -> str:
    """Site and device in the letters that Home Assistant allows, and their hash: names that look alike so stay two."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", "_".join(topics.root.split("/")[-2:]))
    return f"microscope_{plain}_{hashlib.sha256(topics.root.encode()).hexdigest()[:8]}"
