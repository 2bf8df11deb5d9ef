"""Makes the cells of one site look like those of the training, in optical density.

There light is a factor and stains add (Beer-Lambert). What the site looks like is measured over many of its frames
(``contract.look``) and then stays as it is: the same frame always gets the same scores, and no cell counts in its own
normalisation. Which method, if any, is a site's to choose; see `docs/decisions/0009-colour-normalisation.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from common.errors import UsageError
from contract.look import Numbers, density_table
from contract.reference import StainProfile
from contract.types import Crops

Method = Literal["off", "reinhard", "macenko"]
OFF = "the site's colour to off"
MAX_GAIN = 3.0
"""No colour and no stain is made stronger or weaker by more: beyond, noise or a mistake is all there is."""
MAX_CONDITION = 20.0
"""Of a site's two stains: about 6 degrees between them; in three laboratories they are 20 to 70 degrees apart."""
WEAK_AZURE = 0.75
"""Of the training's azure; one training patient in twenty has less, and cells lose 2 points of accuracy there."""
OTHER_LIGHT = 0.15
"""Of the background's brightness in any colour; a fifth less flips ten times as many labels as a normaliser does."""
TURNED_DEGREES = 10.0
"""Between the two azures; training patients have up to 9.4, and cells lose 2 points at 10."""
LESS_ONE = np.array([-1, -1, -1, 0], np.float64)
"""For OpenCV's four channels."""


@dataclass(frozen=True, slots=True)
class Normaliser:
    """What is done to each crop of a site.

    Attributes:
        method: by which this was made.
        density: (1, 256, 3) float32, optical density of the site's grey levels.
        matrix: (3, 4) float32, from these densities to the natural logarithm of (value + 1).
        levels: (1, 256, 3) uint8, the whole way where no colour spills into another.
    """

    method: Method
    density: NDArray[np.float32]
    matrix: NDArray[np.float32]
    levels: NDArray[np.uint8] | None = None

    def apply(self, crops: Crops) -> Crops:
        """Normalise crops, (N, size, size, 3) uint8; a new array."""
        done = np.empty_like(crops)
        for k, crop in enumerate(crops):
            if self.levels is None:
                light = cv2.exp(cv2.transform(cv2.LUT(crop, self.density), self.matrix))
                cv2.add(light, LESS_ONE, dst=done[k], dtype=cv2.CV_8U)
            else:
                cv2.LUT(crop, self.levels, dst=done[k])
        return done


def normaliser(method: Method, site: StainProfile | None, reference: StainProfile | None) -> Normaliser | None:
    """From what a site looks like to what the training looked like; None where the method is `off`.

    Args:
        method: the site's choice.
        site: what its frames look like, measured by ``contract.look``.
        reference: ``manifest.reference`` of the bundle.

    Raises:
        UsageError: one of the two is not known, or the site's stains can not be distinguished.
    """
    if method == "off":
        return None
    if reference is None:
        raise UsageError(f"the bundle does not say what its training looked like; export it again, or set {OFF}")
    if site is None:
        raise UsageError(f"nobody has measured what this site looks like; run `calibrate site`, or set {OFF}")
    matrix = METHODS[method](site, reference)
    density = density_table(np.array(site.bare) * 255)
    light = np.log(np.array(reference.bare) * 255 + 1)
    affine = np.column_stack([-np.log(10) * matrix, light]).astype(np.float32)
    made = Normaliser(method, density, affine)
    if np.count_nonzero(matrix - np.diag(np.diag(matrix))):
        return made
    every = np.repeat(np.arange(256, dtype=np.uint8)[None, None, :, None], 3, axis=3)
    return Normaliser(method, density, affine, made.apply(every)[0])


def advised(site: StainProfile, reference: StainProfile) -> Method:
    """The method for a site that looks so: `macenko` where light, strength or hue of the nuclei are not those learned.

    On other sites each method moves as many cells to the wrong side as to the right one.
    """
    light = np.abs(np.array(site.bare) / np.maximum(reference.bare, 1e-3) - 1).max()
    weaker = site.stains.strength[1] < WEAK_AZURE * reference.stains.strength[1]
    cosine = float(np.dot(site.stains.blue, reference.stains.blue))
    turned = np.degrees(np.arccos(min(cosine, 1.0))) > TURNED_DEGREES
    return "macenko" if light > OTHER_LIGHT or weaker or turned else "off"


def _reinhard(site: StainProfile, reference: StainProfile) -> Numbers:
    """A gain for each colour's density (after Reinhard et al., IEEE CG&A 21, 2001).

    Their shift is left out: bare background must stay bare. Red cells and nuclei count alike, so that it does not
    matter how many of each there are.
    """
    ours, theirs = (np.array([look.red_cells.mean, look.nuclei.mean]) for look in (site, reference))
    return np.diag(_bounded(np.linalg.norm(theirs, axis=0), np.linalg.norm(ours, axis=0)))


def _macenko(site: StainProfile, reference: StainProfile) -> Numbers:
    """The site's two stains become the training's, each with its strength (Macenko et al., ISBI 2009).

    What neither stain explains is kept as it is.
    """
    gain = _bounded(np.array(reference.stains.strength), np.array(site.stains.strength))
    return _basis(reference) @ np.diag([*gain, 1.0]) @ np.linalg.inv(_basis(site))


METHODS: dict[str, Callable[[StainProfile, StainProfile], Numbers]] = {"reinhard": _reinhard, "macenko": _macenko}


def _basis(look: StainProfile) -> Numbers:
    """(3, 3): the two stains and what is at right angles to both, as columns."""
    red, blue = np.array(look.stains.red), np.array(look.stains.blue)
    rest = np.cross(red, blue)
    basis = np.stack([red, blue, rest / max(float(np.linalg.norm(rest)), 1e-9)], axis=1)
    if not np.linalg.cond(basis) < MAX_CONDITION:
        raise UsageError(f"the two stains of {look.on} can not be distinguished; set colour to reinhard or off")
    return basis


def _bounded(goal: Numbers, own: Numbers) -> Numbers:
    return np.clip(goal / np.maximum(own, 1e-6), 1 / MAX_GAIN, MAX_GAIN)
