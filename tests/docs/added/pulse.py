"""Grey pictures, as many as are asked for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field

from agent.sources.scale_setting import Scale
from contract.types import Frame


class PulseSource(BaseModel):
    """Grey pictures."""

    live: ClassVar[bool] = False
    kind: Literal["pulse"] = Field("pulse", description="Grey pictures, one brighter than the other.")
    um_per_pixel: Scale
    beats: int = Field(description="How many pictures.")

    @contextmanager
    def open(self, stop: threading.Event) -> Iterator[Iterator[Frame]]:
        yield self._frames(stop)

    def _frames(self, stop: threading.Event) -> Iterator[Frame]:
        for number in range(1, self.beats + 1):
            if stop.is_set():
                return
            image = np.full((48, 64, 3), 40 + number, np.uint8)
            yield Frame(f"beat {number}", datetime.now(timezone.utc), self.um_per_pixel, image=image)
