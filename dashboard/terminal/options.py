"""What `microscope-watch` can be told."""

import argparse

from common.arguments import Parser, overrides, place
from contract.topic_words import is_topic_word

ENV_PREFIX = "MICROSCOPE_WATCH_"
PASSWORD = "MICROSCOPE_MQTT__PASSWORD"  # noqa: S105 - a variable's name
"""Variable of the agent's password, which is the dashboard's too unless it has one of its own."""
SHORT = {
    "host": "mqtt.host",
    "port": "mqtt.port",
    "username": "mqtt.username",
    "ca": "mqtt.tls.ca",
    "cert": "mqtt.tls.cert",
    "key": "mqtt.tls.key",
    "prefix": "mqtt.prefix",
    "mqtt_version": "mqtt.version",
    "site": "site",
    "device": "device",
}
"""Options that are short for a setting."""


def parser() -> argparse.ArgumentParser:
    """The command."""
    made = Parser(
        prog="microscope-watch",
        description="Show what microscope agents publish. Settings are read as the agent's are: command line, "
        f"environment ({ENV_PREFIX}MQTT__HOST; the password also from {PASSWORD}), systemd credentials, file.",
    )
    add = made.add_argument
    add("--config", type=place, metavar="FILE", help="settings, TOML: site, device, and [mqtt] as the agent's")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting, such as mqtt.keepalive_s=30")
    add("--host", help="the broker (127.0.0.1)")
    add("--port", help="its port (1883)")
    add("--username", help="name to log in with")
    add("--ca", type=place, metavar="FILE", help="use TLS; the authority that signed the broker's certificate")
    add("--cert", type=place, metavar="FILE", help="certificate of this client, for mutual TLS")
    add("--key", type=place, metavar="FILE", help="its private key, without a passphrase")
    add("--prefix", type=_word, help="first word of the topics (microscopy)")
    add("--mqtt-version", choices=["3.1.1", "5"], help="(5)")
    add("--site", type=_word_or_any, help="only this laboratory")
    add("--device", type=_word_or_any, help="only this agent")
    add("--seconds", type=float, metavar="N", help="end after so many seconds")
    add("--frames", type=int, metavar="N", help="end after so many reports")
    add("--until-stopped", action="store_true", help="end when an agent says that it has stopped")
    add("--plain", action="store_true", help="a line for each frame in place of the table")
    add("--summary", type=place, metavar="FILE", help="write the counts at the end, as JSON")
    add("--ready-file", type=place, metavar="FILE", help="make this file once the broker has subscribed us")
    return made


def settings_given(options: argparse.Namespace) -> dict[str, str]:
    """The settings on the command line by dotted name; UsageError where one can not be read."""
    given = {name: getattr(options, option) for option, name in SHORT.items()}
    return {name: str(value) for name, value in given.items() if value is not None} | overrides(options.set)


def _word(text: str) -> str:
    if not is_topic_word(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no word of a topic: no /, +, #, space, nor $ at its beginning")
    return text


def _word_or_any(text: str) -> str:
    return text if text == "+" else _word(text)
