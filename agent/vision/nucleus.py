"""Drawing the nucleus of one white cell within its body.

A nucleus takes green light above all. So do the granules of an eosinophil, but they take much blue too; part of
the blue that is lost, and a little of the red, are therefore subtracted from the green: that is the darkness.
A cell has two classes of it, cytoplasm and nucleus. Where two describe it badly, and what lies between the
lightest and the darkest of three is granules by its colour, it has three.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision.masks import Mask, above, closed, framed, opened, outlines, painted
from agent.vision.touching import Patch
from contract.types import Image

DARKNESS_WEIGHTS = np.array([-0.5, 1.0, -0.15])
"""Of the parts of blue, green and red light that are lost; chosen on SegWBC's images 1 to 240."""
RIM_UM = 0.2
"""Border of the body that has no say in the level of the nucleus: it is half background."""
CHROMATIN_GAP_UM, SPECK_UM, MIN_LOBE_UM2 = 0.2, 0.4, 2.0
"""Radius of gaps in chromatin that are closed, and of specks that are no chromatin; area of the smallest lobe."""
ONE_CLASS = 0.85
"""Ratio of the darkness of the two classes above which they are one, and the body is all nucleus."""
TWO_CLASSES = 0.7
"""Share of the variance that two classes explain, below which there may be three."""
GRANULES_BLUE = 0.6
"""Blue that granules take, as a part of the green, at least; the gaps in coarse chromatin take up to 0.45."""
BIN = 4
"""Step of darkness, of 255, in which three classes are sought."""


def nucleus_of(patch: Patch, smooth: Image, bare: tuple[int, int, int], um: float) -> Mask:
    """The darkest class of a body.

    Args:
        patch: the body, and the nucleus as it was found by its density.
        smooth: (height, width, 3) uint8, BGR, the patch's part of the frame.
        bare: light of the bare background.
        um: micrometres per pixel.

    Returns:
        The patch's mask of the nucleus; that which the patch has if no lobe stands out.
    """
    darkness = _darkness(smooth, bare)
    side = 2 * max(1, round(RIM_UM / um)) + 1
    inner = cv2.erode(framed(patch.body), np.ones((side, side), np.uint8))[1:-1, 1:-1] > 0
    if not inner.any():
        return patch.nucleus
    level = _level(darkness, smooth, inner, bare)
    chromatin = closed(patch.body & above(darkness, level), CHROMATIN_GAP_UM / um)
    nucleus = opened(chromatin, SPECK_UM / um)
    lobes = [lobe for lobe in outlines(nucleus) if cv2.contourArea(lobe) * um * um >= MIN_LOBE_UM2]
    return patch.body & nucleus & painted(nucleus.shape, lobes) if lobes else patch.nucleus


def _darkness(smooth: Image, bare: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Times 255; none below 0."""
    slopes = -DARKNESS_WEIGHTS / np.maximum(bare, 1)
    return np.asarray(cv2.transform(smooth, 255 * np.append(slopes, DARKNESS_WEIGHTS.sum())[None]), np.uint8)


def _level(darkness: NDArray[np.uint8], smooth: Image, inner: NDArray[np.bool_], bare: tuple[int, int, int]) -> float:
    """Darkness above which a pixel is nucleus, by that of the inner ones; Otsu's criterion."""
    values = darkness[inner]
    level, _ = cv2.threshold(values.reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)
    dark = values > level
    if not dark.any() or dark.all():
        return float(values.mean()) / 2
    darker, lighter, share = float(values[dark].mean()), float(values[~dark].mean()), float(dark.mean())
    if lighter > ONE_CLASS * darker:
        return lighter / 2
    if share * (1 - share) * (darker - lighter) ** 2 < TWO_CLASSES * float(values.var()):
        lower, upper = _three_classes(values)
        if _are_granules(smooth[inner & (darkness > lower) & (darkness <= upper)], bare):
            return upper
    return level


def _three_classes(darkness: NDArray[np.uint8]) -> tuple[float, float]:
    """The two levels that leave the least variance within the classes (Otsu, IEEE Trans. SMC 9, 1979, section IV)."""
    counts = np.bincount(darkness // BIN, minlength=256 // BIN).astype(float)
    bins = np.arange(len(counts))
    number, total = np.cumsum(counts), np.cumsum(counts * bins)
    numbers = number[:, None], number - number[:, None], number[-1] - number[None]
    totals = total[:, None], total - total[:, None], total[-1] - total[None]
    between = sum(t**2 / np.maximum(n, 1) for t, n in zip(totals, numbers, strict=True))
    lower, upper = np.unravel_index(np.argmax(np.triu(between, 1)), between.shape)
    return float((lower + 1) * BIN - 1), float((upper + 1) * BIN - 1)


def _are_granules(light: NDArray[np.uint8], bare: tuple[int, int, int]) -> bool:
    if not len(light):
        return False
    lost = 1 - light.mean(axis=0) / np.maximum(bare, 1)
    return bool(lost[0] > GRANULES_BLUE * lost[1])
