"""Is a frame fit to be judged? What is measured, and the reasons in words; ``limits`` has the bounds."""

from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision import light, sharpness, stain
from agent.vision.familiar import far_from
from agent.vision.limits import DEFAULT_LIMITS, QualityLimits
from agent.vision.planes import Pictures, pictures_of
from agent.vision.watch import Apparent, ScaleWatch
from contract.messages import Quality, Reason
from contract.ranks import quantile
from contract.reference import StainProfile
from contract.remedies import REMEDIES
from contract.types import Image

WORKING_UM = 0.4
"""Micrometres per pixel to measure at; blur that hides chromatin (0.5 um) is still plain."""
MIN_SIDE_PIXELS = 32
MIN_SIDE_UM = 8.0
"""A small lymphocyte is 8 um across."""
MAX_PIXELS = 64_000_000
"""Larger than any microscope camera's picture."""
LIMIT_LEVEL = 253
"""Grey level from which a pixel counts as at the sensor's limit; compression moves 255 by two."""
MAX_BLANK = 0.02
"""Share of rows of one colour at the lower border from which a frame counts as torn; real rows have noise."""
BARE_PART = 1.5
"""How much more uneven the light of a whole frame may be than that of its bare part."""
HIDING: frozenset[Reason] = frozenset(("too_small", "too_large", "incomplete", "overexposed", "underexposed", "empty"))
"""Reasons for which nothing more is measured in a frame."""
SHADE_STEPS = 24
"""Steps each way in which the light is looked at; it is a smooth surface."""


def assess(
    image: Image,
    um_per_pixel: float,
    limits: QualityLimits = DEFAULT_LIMITS,
    watch: ScaleWatch | None = None,
    *,
    training: StainProfile | None = None,
    pictures: Callable[[], Pictures] | None = None,
) -> Quality:
    """Measure a frame and say whether it can be judged.

    Args:
        image: (height, width, 3) uint8.
        um_per_pixel: micrometres per pixel, positive.
        limits: what it must keep.
        watch: what the frames before it said of the scale; without one the scale is believed.
        training: what the model's training images looked like; without it nothing is said of how far they are.
        pictures: gives those of this very frame, for who needs them again; not called where too little is stained.

    Returns:
        Figures that are not available (a frame too dark has no focus) are 0.
    """
    faults = list(_faults_of_size(image.shape, um_per_pixel))
    if faults:
        return _verdict(Quality(accepted=False), faults)
    alone = _alone(image, um_per_pixel, limits, training, pictures or partial(pictures_of, image, um_per_pixel))
    return watched(alone, watch, image, um_per_pixel, limits) if watch else alone


def watched(alone: Quality, watch: ScaleWatch, image: Image, um_per_pixel: float, limits: QualityLimits) -> Quality:
    """The quality of a frame by itself, and by what it and the frames before it say of the scale.

    Args:
        alone: what ``assess`` says of the frame without a watch.
        watch: looks at the frame too, unless that is refused for what hides red cells.
        image: the frame.
        um_per_pixel: its scale.
        limits: what the scale must keep.
    """
    apparent = None if HIDING.intersection(alone.reasons) else watch.see(image, um_per_pixel)
    if apparent is None:
        return alone
    wrong = list(_faults_of_scale(apparent, limits))
    scale = round(apparent.usual, 3) if wrong or apparent.agreed else alone.scale
    return _verdict(alone.model_copy(update={"scale": scale}), wrong)


def _alone(
    image: Image,
    um_per_pixel: float,
    limits: QualityLimits,
    training: StainProfile | None,
    pictures: Callable[[], Pictures],
) -> Quality:
    lit = light.measure(image, um_per_pixel, working_um=WORKING_UM)
    background = sum(lit.bare) / 3 / 255
    measured = Quality(
        accepted=True,
        background=round(background, 4),
        unevenness=round(_unevenness(lit), 4),
        saturated=round(_saturated(lit.small), 4),
        noise=round(sharpness.noise_of(image, um_per_pixel) / max(background, 1 / 255), 4),
    )
    faults = [*_faults_of_transfer(lit.small), *_faults_of_exposure(measured, limits)]
    if faults:
        return _verdict(measured, faults)
    density = lit.density()
    stained = stain.measure(density, lit.um_per_pixel, lambda: pictures().kinds)
    if stained.share < limits.min_stained:
        text = f"the frame is empty: {stained.share:.2%} of it is stained, and {limits.min_stained:.1%} is the least"
        return _verdict(measured, [("empty", text)])
    sharp = sharpness.measure(np.ascontiguousarray(density[..., 1]), lit.um_per_pixel)
    measured = measured.model_copy(
        update={
            "focus": round(sharp.per_um, 4),
            "motion": round(sharp.motion, 4),
            "red_hue": round(stained.red_hue, 1),
            "dark_hue": round(stained.dark_hue, 1),
            "far_from_training": far_from(stained.kinds, training) if training and stained.kinds else None,
        }
    )
    return _verdict(measured, [*_faults_of_stain(stained, limits), *_faults_of_optics(measured, limits)])


Fault = tuple[Reason, str]


def _verdict(measured: Quality, faults: list[Fault]) -> Quality:
    """What was measured, refused for these faults too."""
    told = [f"{text}: {REMEDIES[reason]}" for reason, text in faults]
    return measured.model_copy(
        update={
            "accepted": measured.accepted and not faults,
            "reasons": [*measured.reasons, *(reason for reason, _ in faults)],
            "detail": "; ".join([measured.detail, *told] if measured.detail else told),
        }
    )


def _faults_of_size(shape: tuple[int, ...], um_per_pixel: float) -> Iterator[Fault]:
    height, width = shape[:2]
    side = min(height, width)
    if side < MIN_SIDE_PIXELS:
        yield "too_small", f"the frame is {width}x{height} pixels, and {MIN_SIDE_PIXELS} are needed each way"
    elif side * um_per_pixel < MIN_SIDE_UM:
        yield (
            "too_small",
            f"the frame's shorter side is {side * um_per_pixel:.1f} um, less than a cell ({MIN_SIDE_UM:g} um)",
        )
    if height * width > MAX_PIXELS:
        yield "too_large", f"the frame has {height * width / 1e6:.0f} megapixels, and {MAX_PIXELS / 1e6:g} is the most"


def _faults_of_transfer(small: Image) -> Iterator[Fault]:
    """Rows of one colour at the lower border: what a driver leaves where data did not come."""
    last = small[-1]
    if last.max() >= LIMIT_LEVEL or (last != last[0]).any():
        return
    same = (small == small[:, :1]).all(axis=(1, 2))
    blank = len(same) if same.all() else int(np.argmin(same[::-1]))
    if MAX_BLANK * len(same) < blank < len(same):
        yield "incomplete", f"the lower {blank / len(same):.0%} of the frame are of one colour: they did not arrive"


def _faults_of_exposure(measured: Quality, limits: QualityLimits) -> Iterator[Fault]:
    if measured.saturated > limits.max_saturated:
        text = (
            f"too bright: {measured.saturated:.0%} of the pixels are white, and {limits.max_saturated:.0%} is the most"
        )
        yield "overexposed", text
    elif measured.background < limits.min_background:
        text = (
            f"too dark: the bare background's brightness is {measured.background:.2f}, "
            f"and {limits.min_background:g} is the least"
        )
        yield "underexposed", text


def _faults_of_stain(stained: stain.Stain, limits: QualityLimits) -> Iterator[Fault]:
    if stained.colour < limits.min_colour:
        text = f"what is stained has no colour: {stained.colour:.2f}, and {limits.min_colour:g} is the least"
        yield "no_colour", text
        return
    for text in stain.faults(stained, limits):
        yield "wrong_stain", text


def _faults_of_optics(measured: Quality, limits: QualityLimits) -> Iterator[Fault]:
    if measured.motion > limits.max_motion:
        text = (
            f"blurred by motion: sharpness differs by {measured.motion:.0%} between directions, "
            f"and {limits.max_motion:.0%} is the most"
        )
        yield "motion", text
    if measured.focus < limits.min_focus_per_um:
        text = (
            f"out of focus: the sharpness is {measured.focus:.2f} per um, and {limits.min_focus_per_um:g} is the least"
        )
        yield "out_of_focus", text
    if measured.unevenness > limits.max_unevenness:
        text = (
            f"uneven light: it falls by {measured.unevenness:.0%} over the frame, "
            f"and {limits.max_unevenness:.0%} is the most"
        )
        yield "uneven", text
    if measured.noise > limits.max_noise:
        text = (
            f"grainy: the camera's noise is {measured.noise:.1%} of the light, and {limits.max_noise:.1%} is the most"
        )
        yield "noise", text


def _faults_of_scale(apparent: Apparent, limits: QualityLimits) -> Iterator[Fault]:
    """By what the looks say where enough of them agree; before, only by what no other look and no patient explains."""
    least, most = limits.scale
    low, high = (apparent.usual, apparent.usual) if apparent.agreed else (apparent.low, apparent.high)
    if high < least or low > most:
        factor = f"{apparent.usual:.2f} times as large as they are, and {least:g} to {most:g} is right"
        yield "wrong_scale", f"another objective is in use: red cells appear {factor}"


def _unevenness(lit: light.Light) -> float:
    """Share of the light that the darkest part of the frame lacks beside the brightest, by the fitted surface.

    Where large cells fill a corner the surface is a guess, so the bare part of the frame must bear it out.
    """
    step = max(1, min(lit.shade.shape) // SHADE_STEPS)
    shade = lit.shade[::step, ::step].ravel()
    bright, dark = quantile(shade, 0.01), quantile(shade, 0.99)
    return min(float(1 - 10 ** (bright - dark)), BARE_PART * lit.unevenness)


def _saturated(small: Image) -> float:
    return _share(cv2.min(cv2.min(*cv2.split(small)[:2]), small[..., 2]) >= LIMIT_LEVEL)


def _share(mask: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(mask) / mask.size)
