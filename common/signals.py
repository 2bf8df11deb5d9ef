"""How a program is told to end, or to read its secrets again: by signals, from its first moment on.

A thread takes the signals, so that a main thread that hangs in a driver or in the kernel does not keep them from it.
Entry points call ``heed`` before they import anything slow, so this module imports nothing slow either.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

BOUND_S = 1.9
"""Seconds within which a program that is told to end has ended, whatever hangs."""
_WORDS_S = 0.5
"""Of these, for its last words where something hangs."""
ENDING = signal.SIGTERM, signal.SIGINT
HANGUP = signal.SIGHUP
"""Of a terminal that is closed, or of `systemctl reload`."""


class Manner:
    """How a command ends that is told to.

    Args:
        code: its exit code when it has not begun yet, or does not end in time.
        bound_s: how long it may take.
        survives_hangup: SIGHUP does not end it.
    """

    def __init__(self, *, code: int = 1, bound_s: float = BOUND_S, survives_hangup: bool = False) -> None:
        self.code, self.bound_s, self.survives_hangup = code, bound_s, survives_hangup


class Signals:
    """What the signals of this process mean; made by ``heed`` or ``heeded``.

    Until ``decide`` they are only kept. From then on one that ends the program does so at once, for nothing has begun;
    after ``begin`` it sets the event, and the program ends by itself.

    Attributes:
        stop: set by the signals that end the program.
        on_hangup: called for SIGHUP on the thread of the signals; None: SIGHUP ends the program too.
        last_words: called if the program does not end by itself in time.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.on_hangup: Callable[[], None] | None = None
        self.last_words: Callable[[], None] = _nothing
        self._manner = Manner()
        self._begun = self._told = False
        self._early: list[int] | None = []
        self._lock = threading.Lock()
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writer, False)

    def decide(self, manner: Manner) -> None:
        """Say how the command ends that runs from here on."""
        with self._lock:
            early, self._early = self._early or [], None
            self._manner = manner
            self.on_hangup = _nothing if manner.survives_hangup else None
        for number in early:
            self._take(number)

    def begin(self) -> threading.Event:
        """The event that signals set from here on; the command watches it and ends in order."""
        self._begun = True
        return self.stop

    def listen(self) -> None:
        """Take signals as they come, until the process or ``close`` ends it."""
        while numbers := os.read(self._reader, 64):
            for number in numbers:
                self._take(number)
        os.close(self._reader)

    def close(self) -> None:
        """End ``listen``."""
        os.close(self._writer)

    def watch(self) -> None:
        """Have the kernel's signals come here; for the main thread."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self.listen, name="signals", daemon=True).start()

    def _take(self, number: int) -> None:
        with self._lock:
            if self._early is not None:
                self._early.append(number)
                return
        if number == HANGUP and self.on_hangup is not None:
            self.on_hangup()
        elif number in {*ENDING, HANGUP}:
            if not self._begun:
                os._exit(self._manner.code)
            self.stop.set()
            if not self._told:
                self._told = True
                threading.Thread(target=self._end, name="end", daemon=True).start()

    def _end(self) -> None:
        """Wait for the program's end; if it does not come, end it."""
        import logging  # noqa: PLC0415 - slow, and seldom needed

        time.sleep(self._manner.bound_s - _WORDS_S)
        place = _where(threading.main_thread())
        logging.getLogger(__name__).error("told to end, but %s has not returned: ended without it", place)
        words = threading.Thread(target=self.last_words, name="last words", daemon=True)
        words.start()
        words.join(_WORDS_S)
        _flush()
        os._exit(self._manner.code)


def leave(code: int) -> int:
    """End the process with this exit code at once if a thread hangs; else the code, for the caller to end it.

    What hangs in a driver does not always survive the end of the interpreter.
    """
    ours = {"signals", "end"}
    hung = [t for t in threading.enumerate() if t is not threading.main_thread() and t.name not in ours]
    if _heeded and hung:
        _flush()
        os._exit(code)
    return code


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _where(thread: threading.Thread) -> str:
    """The function that a thread is in."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the documented way to look at other threads
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, {frame.f_code.co_name}()" if frame else "the main thread"


def _nothing() -> None:
    """Stand in until somebody listens."""


_heeded: list[Signals] = []
"""The one of this process, where there is one: signals belong to the process."""


def heed() -> Signals:
    """Take the signals of this process until its end; a second call changes nothing."""
    if not _heeded:
        _heeded.append(Signals())
        _heeded[0].watch()
        _handle()
    return _heeded[0]


@contextmanager
def heeded() -> Iterator[Signals]:
    """Take them in the block; where ``heed`` was called, go on with that."""
    if _heeded:
        yield _heeded[0]
        return
    ours, before = Signals(), signal.set_wakeup_fd(-1)
    ours.watch()
    handlers = _handle()
    try:
        yield ours
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        ours.close()


def _handle() -> dict[int, "signal._HANDLER"]:
    """Let the signals go to the wakeup descriptor alone, but for a SIGHUP that nohup has us ignore; what was before."""
    numbers = [n for n in (*ENDING, HANGUP) if n != HANGUP or signal.getsignal(n) != signal.SIG_IGN]
    return {number: signal.signal(number, lambda *_: None) for number in numbers}
