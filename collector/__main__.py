"""`microscope-collect`: stores what the agents of a broker report, each report once, and acknowledges it."""

from common.signals import Manner, Signals, heed, heeded
from common.terminal import open_streams, output_failed, say

if __name__ == "__main__":  # before anything slow is imported, and any file is opened
    open_streams()
    heed()

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO

from collector import database, export
from collector.options import parser, settings_given
from collector.pictures import PictureFetcher
from collector.receive import Collector
from collector.rescue import rescue
from collector.settings import CollectorSettings, load
from collector.store import Store
from common import journal
from common.commands import outcome, process
from common.durable import PRIVATE, growing
from common.words import counted
from mqttlink.settings import BrokerSettings

log = logging.getLogger("collector")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit codes are those of ``common.errors``."""
    with heeded() as signals:
        options = parser().parse_args(arguments)
        journal.set_up(options.log)
        signals.decide(Manner(code=0, survives_hangup=True) if options.command == "collect" else Manner())
        return outcome("microscope-collect", lambda: _run(options, signals))


def _run(options: argparse.Namespace, signals: Signals) -> int:
    return COMMANDS[options.command](load(options.config, settings_given(options)), options, signals)


def _collect(settings: CollectorSettings, options: argparse.Namespace, signals: Signals) -> int:
    stop = signals.begin().is_set
    with Store(settings.database, quarantine_rows=settings.quarantine_rows) as store:
        database.make_place(store.file)
        renewed = partial(_mqtt_of, options)
        collector = Collector(settings, store, renewed=renewed)
        fetcher = PictureFetcher(settings, renewed=renewed) if settings.pictures.fetch else None
        signals.on_hangup = partial(_reconnect, collector, fetcher)
        with fetcher.running() if fetcher else nullcontext():
            collector.run(stop)
        done = collector.totals
    log.info("stored %s; %d came again; %d in quarantine", counted(done.new, "report"), done.again, done.quarantined)
    return 0


def _mqtt_of(options: argparse.Namespace) -> BrokerSettings:
    return load(options.config, settings_given(options)).mqtt


def _reconnect(collector: Collector, fetcher: PictureFetcher | None) -> None:
    collector.reconnect()
    if fetcher:
        fetcher.reconnect()


def _status(settings: CollectorSettings, _options: argparse.Namespace, _signals: Signals) -> int:
    say(*export.status(settings.database))
    return 0


def _rescue(settings: CollectorSettings, _options: argparse.Namespace, _signals: Signals) -> int:
    say(*rescue(settings.database))
    return 0


def _export(settings: CollectorSettings, options: argparse.Namespace, _signals: Signals) -> int:
    with _opened(options.out) as out:
        count = export.export(settings.database, options.what, form=options.form, slide_id=options.slide, out=out)
    log.info("%s", counted(count, "row"))
    return 0


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    try:
        if path is None:
            yield sys.stdout
            sys.stdout.flush()
        else:
            with growing(path, mode=PRIVATE) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as cause:
        raise output_failed(cause, path) from cause


COMMANDS = {"collect": _collect, "status": _status, "rescue": _rescue, "export": _export}


if __name__ == "__main__":
    sys.exit(process("microscope-collect", main))
