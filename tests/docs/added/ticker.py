"""A camera that is there while a file is."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field

from agent.sources.live import live_frames
from agent.sources.scale_setting import Scale
from agent.sources.shot import Shot
from common.errors import SourceError
from contract.types import Frame


class TickerSource(BaseModel):
    """Grey pictures, a hundred a second."""

    live: ClassVar[bool] = True
    kind: Literal["ticker"] = Field("ticker", description="A camera that is there while a file is.")
    um_per_pixel: Scale
    uri: Path = Field(description="The file.")
    max_age_ms: int = 2000

    def open(self, stop: threading.Event) -> AbstractContextManager[Iterator[Frame]]:
        camera = _Ticker(self.uri)
        return live_frames(camera, stop, label="ticker", um_per_pixel=self.um_per_pixel, max_age_ms=self.max_age_ms)


class _Ticker:
    def __init__(self, file: Path) -> None:
        self._file, self._number = file, 0

    def open(self) -> None:
        if not self._file.exists():
            raise SourceError(f"there is no camera at {self._file}; plug it in")
        self._number = 0

    def grab(self) -> Shot | None:
        time.sleep(0.01)
        self._number = self._number % 200 + 1
        return Shot(np.full((48, 64, 3), 40 + self._number, np.uint8)) if self._file.exists() else None

    def close(self) -> None:
        pass
