"""From a labelled image to what the network may see of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from contract.manifest import CellColours, InputSpec
from contract.pixels import cut, drawn
from contract.types import Crops, Image
from evaluation.datasets.files import read_image
from evaluation.datasets.outlines import Outline, middle_of, outline_of
from evaluation.datasets.sample import Sample

T = TypeVar("T")


def read_crops(
    samples: Sequence[Sample],
    spec: InputSpec,
    *,
    um_per_pixel: float | None = None,
    colours: Mapping[str, CellColours] | None = None,
    quiet: bool = False,
) -> Crops:
    """Decode images and cut the field around the cell in the middle of each, several at a time.

    A network that sees cells alone gets them so; an image in which no cell is found keeps its surroundings.

    Args:
        samples: which images.
        spec: scale and size of the crops.
        um_per_pixel: scale of all images, if not each one's own.
        colours: of the cells of each data set, for a network that sees them in its training's colours.
        quiet: draw no progress bar.

    Returns:
        (N, size, size, 3) uint8; row k belongs to sample k.

    Raises:
        UsageError: an image can not be read.
    """
    return read_found(samples, spec, um_per_pixel=um_per_pixel, colours=colours, quiet=quiet)[0]


def read_found(
    samples: Sequence[Sample],
    spec: InputSpec,
    *,
    um_per_pixel: float | None = None,
    colours: Mapping[str, CellColours] | None = None,
    quiet: bool = False,
) -> tuple[Crops, NDArray[np.bool_]]:
    """The same, and (N,) whether the cell was found in the image; True for all where the network sees surroundings."""
    alone = spec.cell is not None and spec.cell.surroundings is not None

    def one(sample: Sample) -> tuple[Image, bool]:
        image, scale = read_image(sample.path), um_per_pixel or sample.um_per_pixel
        outline = outline_of(image, sample, scale) if alone else None
        own = (colours or {}).get(sample.dataset)
        crop = cut(image, middle_of(image, outline), scale, spec, outline=outline, colours=own)
        return crop, outline is not None or not alone

    crops, found = np.empty((len(samples), spec.size, spec.size, 3), np.uint8), np.ones(len(samples), np.bool_)
    for k, (crop, there) in enumerate(_each(one, samples, quiet=quiet)):
        crops[k], found[k] = crop, there
    return crops, found


def read_outlined(
    samples: Sequence[Sample],
    spec: InputSpec,
    *,
    um_per_pixel: float | None = None,
    colours: Mapping[str, CellColours] | None = None,
    quiet: bool = False,
) -> NDArray[np.uint8]:
    """Crops with their surroundings and a fourth plane: 255 within the cell's outline; 0 everywhere where none is.

    Arguments and errors are those of ``read_crops``.

    Returns:
        (N, size, size, 4) uint8.
    """

    def one(sample: Sample) -> tuple[Image, NDArray[np.uint8]]:
        image, scale = read_image(sample.path), um_per_pixel or sample.um_per_pixel
        outline = outline_of(image, sample, scale)
        middle = middle_of(image, outline)
        own = (colours or {}).get(sample.dataset)
        return cut(image, middle, scale, spec, colours=own), mask_of(outline, middle, scale, spec)

    crops = np.empty((len(samples), spec.size, spec.size, 4), np.uint8)
    for k, (crop, mask) in enumerate(_each(one, samples, quiet=quiet)):
        crops[k, ..., :3], crops[k, ..., 3] = crop, mask
    return crops


def mask_of(
    outline: Outline | None, middle: tuple[float, float], um_per_pixel: float, spec: InputSpec
) -> NDArray[np.uint8]:
    """(size, size) 255 within an outline, in the square that ``cut`` takes around a point."""
    if outline is None:
        return np.zeros((spec.size, spec.size), np.uint8)
    side = max(1, round(spec.field_um / um_per_pixel))
    corner = round(middle[0] - side / 2), round(middle[1] - side / 2)
    return np.asarray(drawn(outline, corner, side, spec.size) * 255, np.uint8)


def _each(one: Callable[[Sample], T], samples: Sequence[Sample], *, quiet: bool) -> Iterator[T]:
    with ThreadPoolExecutor() as pool:
        yield from tqdm(pool.map(one, samples), "reading cells", len(samples), disable=quiet or None)
