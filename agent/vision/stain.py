"""Is what is stained stained as blood cells are? Hues of optical density, after Romanowsky's stains.

Eosin and haemoglobin take green and blue out of the light, azure takes green and red: red cells and nuclei lie to
either side of green. A hue is the angle of a density from green, positive towards red, so that neither the stain's
strength nor a grey shade counts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision.kinds import Kinds
from agent.vision.light import Density
from agent.vision.limits import QualityLimits
from contract.ranks import medians

STAINED_DENSITY = 0.12
"""Sum of the three densities above which a pixel is stained; red cells have 0.25 and more."""
SAMPLE = 4000
"""Pixels to look at, about; more change no figure by a degree."""
DARK_SHARE = 0.01
"""Share of the frame that is called its darkest part; in a frame of 50 x 35 um, 4 x 4 um."""
MAX_OTHER_UM2 = 5.0
"""Area of what is darker than red cells and far from their colour without azure, where less has azure: where the hue is
turned by 90 to 270 degrees nuclei are so."""
BRIGHTER, MAX_BRIGHTER = -0.15, 0.01
"""Density of what is a good deal brighter in one colour than the bare background, and most of the frame that may be so:
nothing in a smear is."""
LEAST_COLOUR = 0.15
"""Spread of the red cells' density over the three colours, as a share of their sum, below which they have no hue."""
FEWEST = 20
"""Pixels without which nothing is said."""
NUCLEAR_DENSITY, NUCLEAR_RATIO = 0.6, 2.0
"""Sum of densities, and how often that of red cells, from which only nuclei are so dark: red cells over one another
reach 0.53 in 99 frames of 100 of a pale stain, and twice a red cell in any."""
WARM_WEIGHTS = np.array([1, 1, -2], np.float32)
"""Blue, green, red: high where blue and green are taken and red is left, as by haemoglobin, and never by azure."""
COLD_WEIGHTS = np.array([-2, 1, 1], np.float32)
"""The same with blue and red exchanged: high in nuclei."""
MAX_WARM, MAX_WARM_RATIO = 0.4, 3.5
"""Density of the warmest part, and how often the usual one it may be: red cells over one another are twice as warm as
one; in fit frames the warmest have up to 0.38. Where blue is taken for red, nuclei are the warmest: 0.41 to 1.3."""


@dataclass(frozen=True, slots=True)
class Stain:
    """How a frame is stained.

    Attributes:
        share: of the frame that is stained.
        colour: spread of the mean density over the three colours, as a share of their sum; 0: grey.
        red_hue: of the middle of what is stained, in degrees.
        red_colour: spread of the density there, as ``colour``.
        dark_hue: of nuclei, or of the darkest part where the frame shows none.
        nuclear: whether that part is nuclei, or too dark for red cells.
        other_um2: area that is darker than red cells and far from their colour, but has no more azure; 0 where that of
            what has more is larger.
        brighter: share of the frame that is a good deal brighter in one colour than the bare background.
        warm: density of blue and green beside red, of the part where that is highest.
        usual_warm: the same of the middle.
        cold: density of green and red beside blue, of the part where that is highest: nuclei, where there are any.
        kinds: what red cells and nuclei are like; None where too little is stained.
    """

    share: float
    colour: float = 0.0
    red_hue: float = 0.0
    red_colour: float = 0.0
    dark_hue: float = 0.0
    nuclear: bool = False
    other_um2: float = 0.0
    brighter: float = 0.0
    warm: float = 0.0
    usual_warm: float = 0.0
    cold: float = 0.0
    kinds: Kinds | None = None


def measure(density: Density, um: float, kinds_in: Callable[[], Kinds]) -> Stain:
    """Measure how a frame is stained.

    Args:
        density: optical density of the frame.
        um: micrometres per pixel of it.
        kinds_in: measures what the frame's red cells and nuclei are like; not called where too little is stained.
    """
    step = max(1, round((density.size / 3 / SAMPLE) ** 0.5))
    sample = density[::step, ::step].reshape(-1, 3)
    depth = np.asarray(cv2.transform(sample[None], np.ones((1, 3), np.float32)), np.float32).ravel()
    where = depth > STAINED_DENSITY
    share, stained = float(where.mean()), sample.compress(where, axis=0)
    if len(stained) < FEWEST:
        return Stain(share)
    kinds = kinds_in()
    mean, middle = stained.mean(axis=0), medians(stained)
    count = min(max(FEWEST, round(DARK_SHARE * len(sample))), len(stained) // 2)
    dark = medians(stained.take(np.argpartition(depth[where], -count)[-count:], axis=0))
    warm, cold = stained @ WARM_WEIGHTS, stained @ COLD_WEIGHTS
    far = kinds.are_far(stained) & (depth[where] > middle.sum())
    azure = cold > middle @ COLD_WEIGHTS
    other_um2, azure_um2 = (float(np.count_nonzero(far & kind)) * (um * step) ** 2 for kind in (~azure, azure))
    return Stain(
        share,
        max(_colour(mean), _colour(kinds.nuclei) if kinds.own_nuclei else 0.0),
        hue_of(middle),
        _colour(middle),
        hue_of(kinds.chromatin if kinds.own_nuclei else dark),
        kinds.own_nuclei or bool(dark.sum() > max(NUCLEAR_DENSITY, NUCLEAR_RATIO * middle.sum())),
        other_um2 if other_um2 > azure_um2 else 0.0,
        float((np.minimum.reduce(list(sample.T)) < BRIGHTER).mean()),
        float(np.partition(warm, -count)[-count:].mean()),
        float(np.partition(warm, len(stained) // 2)[len(stained) // 2]),
        float(np.partition(cold, -count)[-count:].mean()),
        kinds,
    )


def _colour(density: NDArray[np.floating]) -> float:
    """Spread over the three colours, as a share of their sum."""
    return float(np.ptp(density) / max(abs(float(density.sum())), 1e-6))


def hue_of(density: NDArray[np.floating]) -> float:
    """Angle of a density (blue, green, red) about the grey axis: 0 is green, 60 lies half-way to red, in degrees."""
    blue, green, red = density.tolist()
    return float(np.degrees(np.arctan2(np.sqrt(3) * (red - blue), 2 * green - red - blue)))


def faults(stain: Stain, limits: QualityLimits) -> Iterator[str]:
    """What is wrong with the hues, in words."""
    asked = [("what is stained has", stain.red_hue, limits.red_hue)] if stain.red_colour > LEAST_COLOUR else []
    asked.append(("the darkest part has", stain.dark_hue, limits.nuclear_hue if stain.nuclear else limits.dark_hue))
    for what, hue, (low, high) in asked:
        if not low <= hue <= high:
            yield f"{what} a hue of {hue:.0f} degrees, and blood cells have {low:g} to {high:g}"
            return
    if stain.brighter > MAX_BRIGHTER:
        yield (
            f"{stain.brighter:.0%} of the frame is brighter in one colour than its bare background, "
            f"and {MAX_BRIGHTER:.0%} is the most: is it a smear?"
        )
    elif stain.other_um2 > MAX_OTHER_UM2:
        yield (
            f"{stain.other_um2:.0f} um2 are darker than red cells and of another colour, but not as azure stains "
            f"nuclei: {MAX_OTHER_UM2:g} um2 are the most"
        )
    elif stain.warm > max(MAX_WARM, MAX_WARM_RATIO * stain.usual_warm, stain.cold):
        yield "what nuclei are like takes blue out of the light, and red must be: are blue and red exchanged?"
