"""A rendered blood smear under a moving stage: the source that needs no camera and no data."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from agent.sources.smear import Camera, Smear
from contract.types import Frame

ROW_FRAMES = 20
"""Frames in a row of the stage's path; then it steps down and returns."""
FOCUS_FRAMES = 60
"""Frames from one sharpest focus to the next but one: a stage that drifts slowly."""


class SyntheticSource(BaseModel):
    """Frames of a rendered blood smear, with the truth about every cell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: ClassVar[bool] = False
    kind: Literal["synthetic"] = Field("synthetic", description="A rendered blood smear; needs no camera.")
    um_per_pixel: float = Field(0.1, ge=0.03, le=1, description="Micrometres per pixel.")
    frames: int | None = Field(None, ge=1, description="How many frames; default: no end.")
    fps: float = Field(0, ge=0, le=1000, description="Frames per second; 0: as fast as they are taken.")
    width: int = Field(640, ge=32, le=8192, description="Pixels.")
    height: int = Field(480, ge=32, le=8192, description="Pixels.")
    seed: int = Field(1, ge=0, description="Another seed is another smear.")
    white_cells: float = Field(3.0, ge=0, le=12, description="White cells in 64 x 48 um, on average; 12 is crowded.")
    blast_share: float = Field(0.3, ge=0, le=1, description="Share of blasts among the white cells.")
    overlap: float = Field(0.0, ge=0, le=0.95, description="Share of a frame that the next one in the row shows again.")
    row_overlap: float = Field(0.0, ge=0, le=0.95, description="Share of a row that the next one shows again.")
    focus_um: float = Field(0.2, ge=0, le=10, description="Blur (standard deviation, um) at the drift's worst.")
    noise_levels: float = Field(1.5, ge=0, le=50, description="Noise of the sensor (standard deviation, of 255).")

    @contextmanager
    def open(self, stop: threading.Event) -> Iterator[Iterator[Frame]]:
        """Open it; needs nothing, so nothing can fail."""
        yield self._frames(stop)

    def _frames(self, stop: threading.Event) -> Iterator[Frame]:
        smear = Smear(
            um_per_pixel=self.um_per_pixel,
            seed=self.seed,
            white_per_mm2=self.white_cells / (64e-3 * 48e-3),
            blast_share=self.blast_share,
        )
        camera = Camera(smear, width=self.width, height=self.height, noise_levels=self.noise_levels)
        rng = np.random.default_rng([self.seed, 6])
        due = time.monotonic()
        for number in itertools.count(1) if self.frames is None else range(1, self.frames + 1):
            if stop.is_set() or (self.fps and stop.wait(max(0.0, due - time.monotonic()))):
                return
            due = max(due + 1 / self.fps, time.monotonic() - 1) if self.fps else due
            yield self._look(camera, number, rng)

    def _look(self, camera: Camera, number: int, rng: np.random.Generator) -> Frame:
        started = time.perf_counter()
        x, y = self._stage(number - 1)
        blur_um = self.focus_um * abs(np.sin(np.pi * (number - 1) / FOCUS_FRAMES * 2))
        image, truth = camera.look(x, y, blur_um=blur_um, rng=rng)
        return Frame(
            source=f"smear {self.seed} at ({x:.0f}, {y:.0f}) um",
            captured_at=datetime.now(timezone.utc),
            um_per_pixel=self.um_per_pixel,
            image=image,
            truth=truth,
            read_ms=(time.perf_counter() - started) * 1e3,
        )

    def _stage(self, step: int) -> tuple[float, float]:
        """Where the stage stands (um): along a row, one down, and back."""
        row, column = divmod(step, ROW_FRAMES)
        if row % 2:
            column = ROW_FRAMES - 1 - column
        across, down = (1 - share for share in (self.overlap, self.row_overlap))
        return column * self.width * across * self.um_per_pixel, row * self.height * down * self.um_per_pixel
