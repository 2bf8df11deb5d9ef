"""`microscope-collect`: stores what the agents of a broker report, each report once, and acknowledges it."""

from contract.signals import Manner, Signals, heed, heeded

if __name__ == "__main__":
    heed()  # before anything slow is imported

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO

from collector import export
from collector.receive import Collector
from collector.settings import ENV_PREFIX, CollectorSettings, load
from collector.store import Store
from contract import journal
from contract.arguments import make_state_dir
from contract.errors import MicroscopeError, UsageError

log = logging.getLogger("collector")
SHORT = {"host": "mqtt.host", "port": "mqtt.port", "username": "mqtt.username", "database": "database"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit codes are those of ``contract.errors``."""
    with heeded() as signals:
        options = _parser().parse_args(arguments)
        journal.set_up(options.log)
        signals.decide(Manner(code=0, survives_hangup=True) if options.command is _collect else Manner())
        try:
            settings = load(options.config, _overrides(options))
            code = int(options.command(settings, options, signals))
            sys.stdout.flush()
        except MicroscopeError as cause:
            print(journal.complaint(f"microscope-collect: {cause}"), file=sys.stderr)
            return cause.exit_code
        except BrokenPipeError:  # who reads our output, as `head` does, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return code


def _collect(settings: CollectorSettings, _options: argparse.Namespace, signals: Signals) -> int:
    stop = signals.begin().is_set
    with Store(settings.database, quarantine_rows=settings.quarantine_rows) as store:
        _see_to_place(store.file)
        collector = Collector(settings, store)
        collector.run(stop)
        done = collector.totals
    log.info("stored %d reports; %d came again; %d in quarantine", done.new, done.again, done.quarantined)
    return 0


def _status(settings: CollectorSettings, _options: argparse.Namespace, _signals: Signals) -> int:
    for line in export.status(settings.database):
        print(line)
    return 0


def _export(settings: CollectorSettings, options: argparse.Namespace, _signals: Signals) -> int:
    with _opened(options.out) as out:
        count = export.export(settings.database, options.what, form=options.form, slide_id=options.slide, out=out)
    log.info("%d rows", count)
    return 0


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as cause:
        raise UsageError(f"--out: {path} can not be written ({cause.strerror}); name another") from cause


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="microscope-collect",
        description="Store what microscope agents report, each report once, and acknowledge it to them. Settings are "
        f"read as the agent's are: command line, environment ({ENV_PREFIX}MQTT__PASSWORD), systemd credentials, file.",
    )
    parser.add_argument("--version", action="version", version=version("microscope-agent"))
    parser.set_defaults(command=_collect, config=None, set=[], set_after=[], log="INFO", **dict.fromkeys(SHORT))
    _add_settings(parser, to="set")
    commands = parser.add_subparsers(metavar="COMMAND", title="other commands")
    told = commands.add_parser("status", help="how far each agent is, what is missing, what is in quarantine")
    told.set_defaults(command=_status)
    _add_settings(told, to="set_after")
    written = commands.add_parser("export", help="write what is stored, as CSV or JSON lines")
    written.set_defaults(command=_export)
    _add_settings(written, to="set_after")
    written.add_argument("what", choices=["reports", "cells", "slides"])
    written.add_argument("--form", choices=["csv", "jsonl"], default="csv", help="(%(default)s)")
    written.add_argument("--slide", metavar="ID", help="only this slide")
    written.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")
    return parser


def _add_settings(parser: argparse.ArgumentParser, *, to: str) -> None:
    """Where settings come from; before a command or after it. A command's list would else hide the one before it."""
    add = partial(parser.add_argument, default=argparse.SUPPRESS)
    add("--config", type=Path, metavar="FILE", help="settings, TOML")
    add("--set", dest=to, action="append", metavar="NAME=VALUE", help="one setting, such as mqtt.tls.ca=ca.pem")
    for name, setting in SHORT.items():
        add(f"--{name}", metavar=name.upper(), help=f"short for --set {setting}=...")
    add("--log", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="(INFO)")


def _overrides(options: argparse.Namespace) -> dict[str, str]:
    overrides = {SHORT[name]: value for name, value in vars(options).items() if name in SHORT and value is not None}
    for word in (*options.set, *options.set_after):
        name, separator, value = word.partition("=")
        if not separator:
            raise UsageError(f"--set {word}: write NAME=VALUE")
        overrides[name] = value
    return overrides


def _see_to_place(file: Path | None) -> None:
    """Make the folder of an SQLite file, which SQLite itself does not, and see that it can be written.

    Raises:
        UsageError: it can not; that does not mend itself.
    """
    if file is None:
        return
    try:
        make_state_dir(file.parent)
    except OSError as cause:
        raise UsageError(
            f"database: the folder {file.parent} can not be made ({cause.strerror}); name another"
        ) from cause
    if file.is_dir():
        raise UsageError(f"database: {file} is a folder; name a file in it")
    for path in (file.parent, file):
        if path.exists() and not os.access(path, os.W_OK):
            raise UsageError(f"database: this user may not write {path}; let it, or name another place")


if __name__ == "__main__":
    sys.exit(main())
