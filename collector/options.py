"""What `microscope-collect` can be told; needs no library of an extra, so that help is always there."""

import argparse
from functools import partial
from importlib.metadata import version

from common.arguments import Parser, overrides, place

ENV_PREFIX = "MICROSCOPE_COLLECT_"
SHORT = {"host": "mqtt.host", "port": "mqtt.port", "username": "mqtt.username", "database": "database"}
"""Options that are short for a setting."""


def parser() -> argparse.ArgumentParser:
    """Every command; which one was asked for stands in ``command``."""
    made = Parser(
        prog="microscope-collect",
        description="Store what microscope agents report, each report once, and acknowledge it to them. Settings are "
        f"read as the agent's are: command line, environment ({ENV_PREFIX}MQTT__PASSWORD), systemd credentials, file.",
    )
    made.add_argument("--version", action="version", version=version("microscope-agent"))
    made.set_defaults(command="collect", config=None, set=[], set_after=[], log="INFO", **dict.fromkeys(SHORT))
    _add_settings(made, to="set")
    commands = made.add_subparsers(metavar="COMMAND", title="other commands")
    told = commands.add_parser("status", help="how far each agent is, what is missing, what is in quarantine")
    told.set_defaults(command="status")
    _add_settings(told, to="set_after")
    saved = commands.add_parser("rescue", help="put what can be read of a damaged SQLite file into a new one")
    saved.set_defaults(command="rescue")
    _add_settings(saved, to="set_after")
    written = commands.add_parser("export", help="write what is stored, as CSV or JSON lines")
    written.set_defaults(command="export")
    _add_settings(written, to="set_after")
    written.add_argument("what", choices=["reports", "cells", "slides"])
    written.add_argument("--form", choices=["csv", "jsonl"], default="csv", help="(%(default)s)")
    written.add_argument("--slide", metavar="ID", help="only this slide")
    written.add_argument("--out", type=place, metavar="FILE", help="default: standard output")
    return made


def settings_given(options: argparse.Namespace) -> dict[str, str]:
    """The settings on the command line by dotted name; UsageError where one can not be read."""
    short = {SHORT[name]: value for name, value in vars(options).items() if name in SHORT and value is not None}
    return short | overrides([*options.set, *options.set_after])


def _add_settings(made: argparse.ArgumentParser, *, to: str) -> None:
    """Where settings come from; before a command or after it. A command's list would else hide the one before it."""
    add = partial(made.add_argument, default=argparse.SUPPRESS)
    add("--config", type=place, metavar="FILE", help="settings, TOML")
    add("--set", dest=to, action="append", metavar="NAME=VALUE", help="one setting, such as mqtt.tls.ca=ca.pem")
    for name, setting in SHORT.items():
        add(f"--{name}", metavar=name.upper(), help=f"short for --set {setting}=...")
    add("--log", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="(INFO)")
