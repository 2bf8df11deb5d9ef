"""What a command writes for people: harmless on any terminal, in any locale, on a stream that is closed or full."""

import io
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal, TextIO, cast

from common.errors import UsageError

STANDARD = (0, 1, 2)
"""File descriptors of standard input, output and error."""


def printable(text: str) -> str:
    r"""One line of text, with an escape such as `\x1b` for each character that a terminal obeys, hides or reorders.

    Names come from files, cameras and other machines, and any of them may hold control characters, line breaks,
    direction marks or halves of a surrogate pair.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def say(*lines: str, to: TextIO | None = None) -> None:
    """Write lines to standard output, or to another stream, each made printable.

    Raises:
        UsageError: standard output takes no more, but for a reader that is gone.
        BrokenPipeError: the reader is gone.
    """
    try:
        for line in lines:
            print(printable(line), file=to, flush=True)
    except BrokenPipeError:
        raise
    except OSError as cause:
        raise output_failed(cause) from cause


def output_failed(cause: OSError, path: Path | None = None) -> UsageError:
    """What is said of a file that can not be written; None: standard output."""
    return UsageError(f"{path or 'standard output'} can not be written ({cause.strerror}); make room, or name another")


def open_streams() -> None:
    """Make the standard streams fit for any text: call it before a file is opened.

    A stream that was closed leads nowhere: the next file that is opened would take its number, and whatever is printed
    would be written into that file. What a terminal can not show is a question mark; a file or a pipe gets UTF-8,
    unless PYTHONIOENCODING names another encoding. An error stream that nobody reads any more stops no work.
    """
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdin = sys.stdin or _opened(0, "r")
    sys.stdout = sys.stdout or _opened(1, "w")
    sys.stderr = sys.stderr or _opened(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            own = stream.isatty() or "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding=None if own else "utf-8", errors="replace")
    if type(sys.stderr) is io.TextIOWrapper:
        old = sys.stderr
        sys.stderr = _Unheard(old.detach(), encoding=old.encoding, errors="replace", line_buffering=True)


def reader_is_gone(stream: TextIO | None) -> bool:
    """Whether a stream is a pipe whose reader has ended."""
    try:
        poll = select.poll()
        poll.register((stream or sys.stdout).fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False


def discard_output() -> None:
    """Send the rest of standard output nowhere, so that the interpreter's end does not try it again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Unheard(io.TextIOWrapper):
    """An error stream that drops what it can not write."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _opened(number: int, mode: Literal["r", "w"]) -> TextIO:
    return cast("TextIO", open(number, mode, encoding="utf-8", errors="replace", closefd=False))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
