"""From a labelled image to what the network may see of it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from contract.errors import UsageError
from contract.manifest import CellColours, InputSpec
from contract.pictures import UnfitPictureError, read_picture
from contract.pixels import cut
from contract.types import Crops, Image
from training.datasets.sample import Sample


def read_crops(
    samples: Sequence[Sample],
    spec: InputSpec,
    *,
    um_per_pixel: float | None = None,
    colours: Mapping[str, CellColours] | None = None,
    quiet: bool = False,
) -> Crops:
    """Decode images and cut the field around the middle of each, several at a time.

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

    def one(sample: Sample) -> Image:
        image = read_image(sample.path)
        middle = (image.shape[1] / 2, image.shape[0] / 2)
        own = (colours or {}).get(sample.dataset)
        return cut(image, middle, um_per_pixel or sample.um_per_pixel, spec, colours=own)

    crops = np.empty((len(samples), spec.size, spec.size, 3), np.uint8)
    with ThreadPoolExecutor() as pool:
        rows = tqdm(pool.map(one, samples), "reading cells", len(samples), disable=quiet or None)
        for k, crop in enumerate(rows):
            crops[k] = crop
    return crops


def read_image(path: Path) -> Image:
    """Read one image, blue-green-red; UsageError if it is none.

    A JPEG that is cut short is read as far as it goes, for some of the data sets hold a few.
    """
    try:
        return read_picture(path, whole=False)
    except UnfitPictureError as cause:
        raise UsageError(f"{path} can not be read as an image: {cause}; remove it or copy it again") from cause
