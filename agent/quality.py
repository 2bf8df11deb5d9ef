"""Is a frame fit to be judged? What is measured, the bounds, and the reasons in words.

The bounds were set on 294 BCCD frames, 450 Barcelona tiles and 1,500 DeepAPL crops, all of which are meant to
pass, and on the same pictures made worse.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from agent import light
from contract.messages import Quality, Reason
from contract.types import Image

WORKING_UM = 0.4
"""Micrometres per pixel to measure at; blur that hides chromatin (0.5 um) is still plain."""
MIN_SIDE_PIXELS = 32
MIN_SIDE_UM = 8.0
"""A small lymphocyte is 8 um across."""
MAX_PIXELS = 64_000_000
"""Larger than any microscope camera's picture."""
MIN_BACKGROUND = 0.3
"""Fit pictures have 0.72 to 0.93, and 0.18 to 0.24 at a quarter of the exposure; below, 8 bits are too few."""
LIMIT_LEVEL = 253
"""Grey level from which a pixel counts as at the sensor's limit; compression moves 255 by two."""
MAX_SATURATED = 0.6
"""Share of pixels with all colours at the limit: none in fit pictures, 0.64 and more at three times the exposure."""
STAINED_DENSITY = 0.12
"""Sum of the three densities above which a pixel is stained; red cells have 0.25 and more."""
MIN_STAINED = 0.005
"""Share of stained pixels; a 50 x 35 um frame has this much of half a red cell. Fit pictures have 0.12 and more."""
MIN_COLOUR = 0.1
"""Spread of the stained pixels' mean density over the three colours, as a share of their sum: 0.23 and more in fit
pictures, 0.01 in grey ones with a tint and noise. Cells are found by colour."""
MAX_UNEVENNESS = 0.45
"""Of 1,500 crops 99.5 % are below 0.39; a vignette that leaves a third of the light in the corners gives 0.54."""
MIN_FOCUS_PER_UM = 1.2
"""Fit pictures have 1.7 to 3.8; blurred by 1 um (standard deviation) they have 0.6 to 1.1."""


def assess(image: Image, um_per_pixel: float) -> Quality:
    """Measure a frame and say whether it can be judged.

    Args:
        image: (height, width, 3) uint8.
        um_per_pixel: micrometres per pixel, positive.

    Returns:
        ``focus`` is the root mean square of the Laplacian over that of the gradient, in 1/um, of the green's
        optical density. Figures that can not be had (a frame too dark has no focus) are 0.
    """
    faults = list(_faults_of_size(image.shape, um_per_pixel))
    if faults:
        return _verdict(Quality(accepted=False), faults)
    lit = light.measure(image, um_per_pixel, working_um=WORKING_UM)
    measured = Quality(
        accepted=True,
        background=round(sum(lit.bare) / 3 / 255, 4),
        unevenness=round(lit.unevenness, 4),
        saturated=round(_share(cv2.min(cv2.min(*cv2.split(lit.small)[:2]), lit.small[..., 2]) >= LIMIT_LEVEL), 4),
    )
    faults = list(_faults_of_exposure(measured))
    if faults:
        return _verdict(measured, faults)
    density = lit.density()
    faults = list(_faults_of_stain(density))
    if faults:
        return _verdict(measured, faults)
    focus = _focus(density[..., 1], lit.um_per_pixel)
    measured = measured.model_copy(update={"focus": round(focus, 4)})
    return _verdict(measured, list(_faults_of_optics(measured)))


Fault = tuple[Reason, str]


def _verdict(measured: Quality, faults: list[Fault]) -> Quality:
    return measured.model_copy(
        update={
            "accepted": not faults,
            "reasons": [reason for reason, _ in faults],
            "detail": "; ".join(text for _, text in faults),
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


def _faults_of_exposure(measured: Quality) -> Iterator[Fault]:
    if measured.saturated > MAX_SATURATED:
        yield "overexposed", f"{measured.saturated:.0%} of the pixels are white, and {MAX_SATURATED:.0%} is the most"
    elif measured.background < MIN_BACKGROUND:
        text = f"the background's brightness is {measured.background:.2f}, and {MIN_BACKGROUND:g} is the least"
        yield "underexposed", text


def _faults_of_stain(density: light.Density) -> Iterator[Fault]:
    stained = density.sum(axis=2) > STAINED_DENSITY
    share = _share(stained)
    if share < MIN_STAINED:
        yield "empty", f"{share:.2%} of the frame is stained, and at least {MIN_STAINED:.1%} must be"
        return
    mean = density[stained].mean(axis=0)
    colour = float(np.ptp(mean) / mean.sum())
    if colour < MIN_COLOUR:
        text = (
            f"what is stained has no colour ({colour:.2f}, and {MIN_COLOUR:g} is the least); is the camera monochrome?"
        )
        yield "no_colour", text


def _faults_of_optics(measured: Quality) -> Iterator[Fault]:
    if measured.focus < MIN_FOCUS_PER_UM:
        yield "out_of_focus", f"the sharpness is {measured.focus:.2f} per um, and {MIN_FOCUS_PER_UM:g} is the least"
    if measured.unevenness > MAX_UNEVENNESS:
        text = f"the light falls by {measured.unevenness:.0%} over the frame, and {MAX_UNEVENNESS:.0%} is the most"
        yield "uneven", text


def _share(mask: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(mask) / mask.size)


def _focus(density: NDArray[np.float32], um_per_pixel: float) -> float:
    """How sharp edges are, whatever their number and strength, in 1/um."""
    smooth = cv2.GaussianBlur(density, (3, 3), 0)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, scale=0.125) for dx in (1, 0))
    slope = float(np.mean(across * across) + np.mean(down * down))
    bend = float(np.mean(cv2.Laplacian(smooth, cv2.CV_32F) ** 2))
    return float(np.sqrt(bend / slope)) / um_per_pixel if slope > 0 else 0.0
