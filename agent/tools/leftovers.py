"""What the demonstration has started and written: it is gone at the end, even if a part of it hangs."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from common.signals import Signals

_TRIES = 5
"""What still runs may write into a folder while it is removed."""


@dataclass
class Leftovers:
    """Programs and the one folder into which all write; any thread may remove them.

    Attributes:
        folder: removed with all that is in it.
        broker: process of the broker, which outlives the programs; 0: none.
        programs: those that were started.
    """

    folder: Path
    broker: int = 0
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def remove(self) -> None:
        """End every program at once and remove the folder."""
        for program in self.programs:
            program.kill()  # does nothing to one that has been waited for
        if self.broker:
            with suppress(ProcessLookupError):
                os.kill(self.broker, signal.SIGKILL)
        for _ in range(_TRIES):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return


@contextmanager
def leftovers(signals: Signals) -> Iterator[Leftovers]:
    """Make the folder; on leaving it is removed, and if something hangs, all of it by the last words of ``signals``."""
    left = Leftovers(Path(tempfile.mkdtemp(prefix="microscope-demo-")))
    before, signals.last_words = signals.last_words, left.remove
    try:
        yield left
    finally:
        left.broker = 0  # it has ended, and its number may be another's
        left.remove()
        signals.last_words = before
