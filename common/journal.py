"""Log lines as the reader wants them: with a priority for systemd's journal, plain anywhere else.

The journal takes a line's priority from `<N>` at its beginning (sd-daemon(3)), so that
`journalctl -p warning -u microscope-agent`, or `-u microscope-collect`, shows what a person should see.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from common.terminal import printable

PLAIN = "%(levelname)s %(name)s: %(message)s"
PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""syslog(3)'s, by logging's levels."""


def goes_to_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the journal reads this stream: systemd names device and inode in JOURNAL_STREAM (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def set_up(level: str, stream: TextIO | None = None) -> None:
    """Send the log of this program to a stream; default: stderr."""
    stream = sys.stderr if stream is None else stream
    handler = _Handler(stream)
    handler.setFormatter(JournalFormatter() if goes_to_journal(stream) else PrintableFormatter(PLAIN))
    logging.basicConfig(level=level, handlers=[handler])


def complaint(text: str, stream: TextIO | None = None) -> str:
    """The last words of a command that fails, in one printable line, marked as an error for the journal."""
    line = printable(text)
    return marked(line, logging.ERROR) if goes_to_journal(sys.stderr if stream is None else stream) else line


def marked(text: str, level: int) -> str:
    """Every line with its priority; without one, the lines of a traceback would be taken for information."""
    priority = next((p for least, p in PRIORITIES.items() if level >= least), 7)
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines() or [""])


class PrintableFormatter(logging.Formatter):
    """One line for each record, whatever names from elsewhere stand in it; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The message in characters that no terminal obeys."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        """The traceback likewise, line by line."""
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


class JournalFormatter(PrintableFormatter):
    """The journal knows the time and the level; the name of the module is told."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record with its priority."""
        return marked(super().format(record), record.levelno)


class _Handler(logging.StreamHandler[TextIO]):
    """A log that nobody reads any more, or that finds no room, stops no work and reports nothing of itself."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Let go of a line that can not be written; any other fault is reported as logging does it."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
