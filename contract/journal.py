"""Log lines as the reader wants them: with a priority for systemd's journal, plain anywhere else.

The journal takes a line's priority from `<N>` at its beginning (sd-daemon(3)), so that
`journalctl -p warning -u microscope-agent`, or `-u microscope-collect`, shows what a person should see.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

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
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JournalFormatter() if goes_to_journal(stream) else logging.Formatter(PLAIN))
    logging.basicConfig(level=level, handlers=[handler])


def complaint(text: str, stream: TextIO | None = None) -> str:
    """The last words of a command that fails, marked as an error for the journal."""
    return marked(text, logging.ERROR) if goes_to_journal(sys.stderr if stream is None else stream) else text


def marked(text: str, level: int) -> str:
    """Every line with its priority; without one, the lines of a traceback would be taken for information."""
    priority = next((p for least, p in PRIORITIES.items() if level >= least), 7)
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines() or [""])


class JournalFormatter(logging.Formatter):
    """The journal knows the time and the level; the name of the module is told."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record with its priority."""
        return marked(super().format(record), record.levelno)
