"""`microscope-dashboard`: serves the page that shows what agents report, and keeps who may sign in."""

from common.signals import Manner, Signals, heed, heeded, leave
from common.terminal import open_streams, say

if __name__ == "__main__":  # before anything slow is imported
    open_streams()
    heed()

import argparse
import getpass
import logging
import sys
from collections.abc import Sequence

from common import journal
from common.commands import outcome, process
from common.durable import write_whole
from common.errors import UsageError
from dashboard.exports.training import Choice, export_reviewed, read_patients
from dashboard.options import parser, settings_given
from dashboard.reviews.store import ReviewStore
from dashboard.security import users
from dashboard.security.users import Users
from dashboard.server import serve
from dashboard.settings import DashboardSettings, load

log = logging.getLogger("dashboard")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit codes are those of ``common.errors``."""
    with heeded() as signals:
        options = parser().parse_args(arguments)
        journal.set_up(options.log)
        signals.decide(Manner(code=0, survives_hangup=True) if options.command == "serve" else Manner())
        return leave(outcome("microscope-dashboard", lambda: _run(options, signals)))


def _run(options: argparse.Namespace, signals: Signals) -> int:
    return COMMANDS[options.command](load(options.config, settings_given(options)), options, signals)


def _serve(settings: DashboardSettings, options: argparse.Namespace, signals: Signals) -> int:
    def ready(address: str) -> None:
        log.info("the page is at %s", address)
        if options.ready_file:
            write_whole(options.ready_file, address.encode())

    serve(settings, signals, ready=ready, renewed=lambda: load(options.config, settings_given(options)).mqtt)
    return 0


def _people(settings: DashboardSettings) -> Users:
    return Users(settings.state_dir / users.FILE)


def _add_user(settings: DashboardSettings, options: argparse.Namespace, _signals: Signals) -> int:
    _people(settings).add(options.name, _password(), options.role)
    say(f"{options.name} may sign in as {options.role}")
    return 0


def _password() -> str:
    """Asked for twice on a terminal; else the first line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("password: ")
    if first != getpass.getpass("again: "):
        raise UsageError("the two are not the same; nothing was changed")
    return first


def _remove_user(settings: DashboardSettings, options: argparse.Namespace, _signals: Signals) -> int:
    _people(settings).remove(options.name)
    say(f"{options.name} may sign in no more")
    return 0


def _list_users(settings: DashboardSettings, _options: argparse.Namespace, _signals: Signals) -> int:
    everybody = _people(settings).everybody()
    wide = max(map(len, everybody), default=0)
    say(*[f"{name:{wide}}  {user.role}" for name, user in sorted(everybody.items())])
    return 0


def _training(settings: DashboardSettings, options: argparse.Namespace, _signals: Signals) -> int:
    if unknown := sorted(set(options.other) - set(settings.classes)):
        known = ", ".join(settings.classes)
        raise UsageError(f"--other {unknown[0]}: the setting `classes` has no such class; it has {known or 'none'}")
    patients = read_patients(options.patients) if options.patients else None
    choice = Choice(
        slides=frozenset(options.slide),
        site=options.site,
        device=options.device,
        since=options.since,
        until=options.until,
        patients=patients,
        other=tuple(options.other),
        signed_only=not options.unsigned,
    )
    with ReviewStore(settings.reviews_url) as reviews:
        if not reviews.is_there:  # SQLite would make it, of whoever gives this command
            raise UsageError(
                f"there are no reviews at {reviews.where}; give --set reviews=... or state_dir=... of the page"
            )
        say(*export_reviewed(settings.database, reviews, choice, options.out))
    return 0


COMMANDS = {
    "serve": _serve,
    "training": _training,
    "add_user": _add_user,
    "remove_user": _remove_user,
    "list_users": _list_users,
}


if __name__ == "__main__":
    sys.exit(process("microscope-dashboard", main))
