"""Rendered smears whose scale is known."""

import threading
from functools import lru_cache

from agent.sources.synthetic import SyntheticSource
from contract.types import Image


@lru_cache
def smear(um_per_pixel: float = 0.1, frames: int = 8, focus_um: float = 0.2) -> tuple[Image, ...]:
    source = SyntheticSource(um_per_pixel=um_per_pixel, frames=frames, seed=4, focus_um=focus_um)
    with source.open(threading.Event()) as made:
        return tuple(frame.image for frame in made)
