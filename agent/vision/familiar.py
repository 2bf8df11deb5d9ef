"""How far a frame's stain lies from that of the training's images: what is foreign is judged, and marked.

The distance of red cells, and of nuclei where the frame shows some, is the root mean square over the three colours of
what their optical density differs by, in standard deviations between the training's own images. The larger of the two
counts.
"""

import numpy as np

from agent.vision.kinds import Kinds, Numbers
from contract.reference import Colour, StainProfile

LEAST_SPREAD = 0.02
"""Optical density that images of one laboratory differ by, at least: training images of one camera may do by less."""


def far_from(kinds: Kinds, training: StainProfile) -> float | None:
    """In standard deviations between the training's images; None where the frame shows too few red cells."""
    if not len(kinds.red_pixels):
        return None
    far = [_distance(kinds.red, training.red_cells)]
    if kinds.own_nuclei:
        far.append(_distance(kinds.nuclei, training.nuclei))
    return round(max(far), 2)


def _distance(density: Numbers, usual: Colour) -> float:
    spread = np.maximum(usual.between, LEAST_SPREAD)
    return float(np.sqrt(np.mean(np.square((density - np.array(usual.mean)) / spread))))
