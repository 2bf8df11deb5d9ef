"""Where frames come from: one file per kind, one settings class in each, which is the source's factory."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from contract.types import Frame


class Source(Protocol):
    """Anything that delivers frames."""

    @property
    def um_per_pixel(self) -> float:
        """Micrometres per pixel of its frames."""
        ...

    @property
    def live(self) -> bool:
        """True if frames come whether we take them or not, so that waiting loses some."""
        ...

    def open(self, stop: threading.Event) -> AbstractContextManager[Iterator[Frame]]:
        """Open it and deliver frames until they end or ``stop`` is set.

        The run loop numbers the frames; a source gives them no id. A picture that can not be read is a Frame with a
        ``fault``; the iterator goes on after it. A live source is a ``live.Grabber`` behind ``live.live_frames``.

        Raises:
            SourceError: it can not be opened, or stopped for good.
            UsageError: it names something that is no source.
        """
        ...
