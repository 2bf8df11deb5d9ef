"""What `microscope-dashboard` can be told; needs no library of an extra, so that help is always there."""

import argparse
from datetime import date
from functools import partial
from importlib.metadata import version

from common.arguments import Parser, overrides, place
from dashboard.security.roles import ROLES

ENV_PREFIX = "MICROSCOPE_DASHBOARD_"
SHORT = {
    "host": "mqtt.host",
    "port": "mqtt.port",
    "username": "mqtt.username",
    "database": "database",
    "web_host": "web.host",
    "web_port": "web.port",
}
"""Options that are short for a setting."""


def parser() -> argparse.ArgumentParser:
    """Every command; which one was asked for stands in ``command``."""
    made = Parser(
        prog="microscope-dashboard",
        description="Serve the page that shows what microscope agents report, and where people review it. Settings are "
        f"read as the agent's are: command line, environment ({ENV_PREFIX}MQTT__PASSWORD), systemd credentials, file.",
    )
    made.add_argument("--version", action="version", version=version("microscope-agent"))
    made.set_defaults(command="serve", config=None, set=[], set_after=[], log="INFO", collect=False, ready_file=None)
    made.set_defaults(**dict.fromkeys(SHORT))
    _add_settings(made, to="set")
    made.add_argument("--collect", action="store_true", help="be the collector as well: one process, one workstation")
    made.add_argument(
        "--ready-file", type=place, metavar="FILE", help="write the page's address there once it can be opened"
    )
    commands = made.add_subparsers(metavar="COMMAND", title="other commands")
    user = commands.add_parser("user", help="who may sign in: add, remove, list")
    what = user.add_subparsers(metavar="ACTION", required=True)
    added = what.add_parser("add", help="a person, or a new password or role for one; the password is asked for")
    added.set_defaults(command="add_user")
    added.add_argument("name", help="letters, digits and . _ - @; it stands beside each review")
    added.add_argument("--role", choices=ROLES, default="reviewer", help="(%(default)s)")
    removed = what.add_parser("remove", help="a person; reviews stay")
    removed.set_defaults(command="remove_user")
    removed.add_argument("name")
    listed = what.add_parser("list", help="names and roles")
    listed.set_defaults(command="list_users")
    for one in (added, removed, listed, _add_training(commands)):
        _add_settings(one, to="set_after")
    return made


def _add_training(commands: "argparse._SubParsersAction[Parser]") -> Parser:
    words = "reviewed cells into a folder that train-classifier takes (--layout folders); the page may run meanwhile"
    made = commands.add_parser("training", help=words, description=words[0].upper() + words[1:] + ".")
    made.set_defaults(command="training")
    made.add_argument("out", type=place, metavar="OUT", help="a folder that does not exist, or is empty")
    made.add_argument(
        "--slide", action="append", default=[], metavar="ID", help="only this slide; may stand repeatedly"
    )
    made.add_argument("--site", default="", metavar="SITE", help="only of this laboratory")
    made.add_argument("--device", default="", metavar="DEVICE", help="only of this microscope")
    made.add_argument(
        "--since", type=_day, metavar="DAY", help="only slides begun on that day or later (2026-01-31, UTC)"
    )
    made.add_argument("--until", type=_day, metavar="DAY", help="only slides begun on that day or before")
    words = "CSV with columns slide,patient: pseudonyms of patients who have several slides; else each slide is one"
    made.add_argument("--patients", type=place, metavar="FILE", help=words)
    words = "a class of the laboratory that is no cell to judge, as smudge; may stand repeatedly"
    made.add_argument("--other", action="append", default=[], metavar="CLASS", help=words)
    made.add_argument("--unsigned", action="store_true", help="cells of readings that are not signed, too")
    return made


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2026-01-31") from None


def settings_given(options: argparse.Namespace) -> dict[str, str]:
    """The settings on the command line by dotted name; UsageError where one can not be read."""
    short = {SHORT[name]: value for name, value in vars(options).items() if name in SHORT and value is not None}
    collect = {"collect": "true"} if options.collect else {}
    return short | collect | overrides([*options.set, *options.set_after])


def _add_settings(made: argparse.ArgumentParser, *, to: str) -> None:
    """Where settings come from; before a command or after it. A command's list would else hide the one before it."""
    add = partial(made.add_argument, default=argparse.SUPPRESS)
    add("--config", type=place, metavar="FILE", help="settings, TOML")
    add("--set", dest=to, action="append", metavar="NAME=VALUE", help="one setting, such as web.language=de")
    for name, setting in SHORT.items():
        add(f"--{name.replace('_', '-')}", metavar=name.upper(), help=f"short for --set {setting}=...")
    add("--log", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="(INFO)")
